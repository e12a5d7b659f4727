# SPDX-License-Identifier: AGPL-3.0-or-later
"""Calls every method of pythonseer, unchanged, and prints one JSON line for each: its name and what it returned."""

import json
import sys

from pythonseer import Fediseer
from pythonseer.types import FormatType

url, key_a, key_b = sys.argv[1:]


def show(name, value):
    print(json.dumps([name, value]), flush=True)


seer = Fediseer(url)
show("log_in", seer.log_in(key_a))
show("guarantee.create", seer.guarantee.create("b"))
show("guarantee.create again", seer.guarantee.create("b"))
show("guarantee.get_received", seer.guarantee.get_received("b", FormatType.LIST))
show("guarantee.get_given", seer.guarantee.get_given("a", FormatType.CSV))
show("guarantee.get_given full", seer.guarantee.get_given("a"))
show("endorsement.create", seer.endorsement.create("b", "kind"))
show("endorsement.modify", seer.endorsement.modify("b", "kinder"))
show("endorsement.get_received", seer.endorsement.get_received("b"))
show("endorsement.get_given", seer.endorsement.get_given({"a"}, format=FormatType.LIST))
show("endorsement.delete", seer.endorsement.delete("b"))
for name, part in (("censure", seer.censure), ("hesitation", seer.hesitation)):
    show(name + ".create", part.create("evil.test", "spam", "see"))
    show(name + ".modify", part.modify("evil.test", "spam, bots"))
    show(name + ".get_received", part.get_received("evil.test"))
    show(name + ".get_given", part.get_given("a,b", reasons="bots", format=FormatType.LIST))
    show(name + ".get_given csv", part.get_given({"a"}, format=FormatType.CSV))
    show(name + ".delete", part.delete("evil.test"))
show("censure.get_given too many", seer.censure.get_given("a", min_censures=2))
show("suspicions.get", seer.suspicions.get(format=FormatType.LIST))
show("suspicions.get full", seer.suspicions.get(activity_suspicion=19))
show("whitelist.get", seer.whitelist.get(format=FormatType.LIST))
show("whitelist.get domains", seer.whitelist.get(software="lemmy", domains=True, limit=10))
show("whitelist.get_domain", seer.whitelist.get_domain("b"))
show("whitelist.claim", seer.whitelist.claim("c"))
show("whitelist.reset_apikey", seer.whitelist.reset_apikey("a"))
show("guarantee.delete", seer.guarantee.delete("b"))
other = Fediseer(url)
other.log_in(key_b)
show("whitelist.unclaim", other.whitelist.unclaim("b"))
