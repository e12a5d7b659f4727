# SPDX-License-Identifier: AGPL-3.0-or-later
"""A pop waits for a job as long as it is told to. Requests that are made up tell it not to, unless what they tell is wrong."""

import schemathesis

MOST = 2**31 - 1


def patient(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and patient(case.body.get("wait")):
        case.body["wait"] = 0
    for name in list(case.headers or {}):
        value = str(case.headers[name])
        if name.lower() == "horde-wait" and value.isascii() and value.isdigit() and patient(int(value)):
            case.headers[name] = "0"
