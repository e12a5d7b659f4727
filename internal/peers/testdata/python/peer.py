# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the scripts of this directory share.

A script says what it saw as lines of JSON on standard output, one a step: the step's name, the type that the SDK made of
the answer, and the members that were set. The Go test compares every line.

The environment gives the server (AI_HORDE_URL, which the SDK reads itself), REQUESTER_KEY and OWNER_KEY.
"""

import json
import os
import sys

from loguru import logger

logger.remove()  # the SDK logs a lot, and its errors are expected here
logger.add(sys.stderr, level="ERROR")

from horde_sdk.ai_horde_api.consts import RC
from horde_sdk.generic_api.apimodels import RequestErrorResponse

REQUESTER = os.environ["REQUESTER_KEY"]
OWNER = os.environ["OWNER_KEY"]
UNKNOWN_KEY = "a" * 22
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
REGEN = "AI Horde Worker reGen:9.0.7:https://github.com/Haidra-Org/horde-worker-reGen"


def say(step, seen):
    """Print what a step saw: an answer of the SDK, an exception, or plain data."""
    line = {"step": step, "type": type(seen).__name__}
    if isinstance(seen, RequestErrorResponse):
        # "known" is whether the SDK's own enumeration has the code.
        line["value"] = {"message": seen.message, "rc": seen.rc, "known": seen.rc in [str(rc) for rc in RC]}
        if seen.object_data is not None:
            line["value"]["object_data"] = str(seen.object_data)
    elif isinstance(seen, Exception):
        line["value"] = str(seen)
    elif hasattr(seen, "model_dump_json"):
        line["value"] = json.loads(seen.model_dump_json(by_alias=True, exclude_unset=True))
    else:
        line["value"] = seen
    print(json.dumps(line), flush=True)
    return seen


def raised(call, *args):
    """The exception that a call ends in; None when it does not."""
    try:
        call(*args)
    except Exception as e:
        return e
    return None


def image_request(**more):
    """A plain image request as a dictionary for the SDK's model."""
    return {"apikey": REQUESTER, "prompt": "a cat###dog", "models": ["Deliberate"], **more}


def image_pop(**more):
    """An image worker's pop as a dictionary for the SDK's model."""
    return {
        "apikey": OWNER, "name": "fake peers worker", "models": ["Deliberate"], "bridge_agent": REGEN,
        "max_pixels": 1024 * 1024, "nsfw": True, **more,
    }


def text_pop(**more):
    """A text worker's pop as a dictionary for the SDK's model."""
    return {
        "apikey": OWNER, "name": "fake peers scribe", "models": ["facebook/opt-125m"], "bridge_agent": "KoboldCppEmbedWorker:2:",
        "max_length": 512, "max_context_length": 2048, **more,
    }
