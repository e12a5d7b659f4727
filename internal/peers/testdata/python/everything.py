# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every request that the SDK knows, and every call of its clients.

What there is to call is found by looking into the SDK, so nothing that a release has is left out by mistake: a request or a
call that this script does not make is reported as missing. Requests for what this server does not have are named in NOT_SERVED
with the reason; one that the server does have in the end is reported too.

Prints one JSON object: what was called, and the lists of what is missing and of what went wrong, which should be empty.
"""

import asyncio
import base64
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import sys
import threading

import aiohttp
import requests
from loguru import logger

logger.remove()
problems, complaints = [], []
logger.add(lambda message: complaints.append(str(message).strip()), level="WARNING", format="{level} {name}: {message}")

import horde_sdk.ai_horde_api.ai_horde_clients as clients
import horde_sdk.ai_horde_api.apimodels as apimodels
import horde_sdk.ratings_api.apimodels as ratings
from horde_sdk.generic_api.apimodels import HordeRequest, RequestErrorResponse
from PIL import Image

REQUESTER, OWNER, MODERATOR = (os.environ[k] for k in ("REQUESTER_KEY", "OWNER_KEY", "MODERATOR_KEY"))
SERVER = os.environ["AI_HORDE_URL"]
REGEN = "AI Horde Worker reGen:13.0.0:https://github.com/Haidra-Org/horde-worker-reGen"
MODEL, TEXT_MODEL = "Deliberate", "facebook/opt-125m"

# Requests of the SDK for what this server does not have, by their paths.
NOT_SERVED = json.loads(os.environ["NOT_SERVED"])

# Requests that the SDK does not get as far as sending, or not to the right path, with what comes of it: its own tables lack a
# field of the path.
BROKEN = {
    "RateRequest": "There is no such request.",
    "StyleImageExampleModifyRequest": "KeyError: 'example_id'", "StyleImageExampleDeleteRequest": "KeyError: 'example_id'",
    "CollectionByNameRequest": "GET requests cannot have a body!",
    # It expects of a message what was sent: the contract publishes the answer so, and every server answers with a date.
    **dict.fromkeys(("CreateWorkerMessageRequest", "AllWorkerMessagesRequest", "SingleWorkerMessageRequest"), "The response type doesn't match"),
}

# What the SDK says aloud although nothing is wrong.
HARMLESS = re.compile(os.environ["HARMLESS"])


def everything(*packages):
    """All requests that can be made, by name."""
    found = {}
    for package in packages:
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
            importlib.import_module(module.name)

    def below(kind):
        for k in kind.__subclasses__():
            yield k
            yield from below(k)

    for kind in below(HordeRequest):
        if not inspect.isabstract(kind) and not kind.__name__.startswith(("Base", "_")):
            found[kind.__name__] = kind
    return found


REQUESTS = everything(apimodels, ratings)
called, calls = set(), set()


def shape(method, path):
    return method.upper() + " " + re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


document = requests.get(SERVER + "openapi.json", timeout=10).json()
SERVED = {shape(method, path) for path, item in document["paths"].items() for method in item}


def operation(kind):
    return shape(kind.get_http_method(), "/api" + kind.get_api_endpoint_subpath())


for name, kind in REQUESTS.items():
    path = operation(kind)
    if path in SERVED and path in NOT_SERVED:
        problems.append(f"{path} is listed as not served, and is there: {name}")
    if path not in SERVED and path not in NOT_SERVED:
        problems.append(f"{path} is not there, and not listed as not served: {name}")

client = clients.AIHordeAPIManualClient()


def has(name):
    """Whether this release has a request, and the server what it is for."""
    return name in REQUESTS and operation(REQUESTS[name]) in SERVED


def ask(name, response=None, /, **fields):
    """Make one request, and report an answer that is not what the SDK expects. None where there is nothing to ask."""
    if not has(name):
        return None
    kind = REQUESTS[name]
    called.add(name)
    try:
        known = set(kind.model_fields) | {f.alias for f in kind.model_fields.values() if f.alias}
        request = kind(**{k: v for k, v in fields.items() if k in known})
        answer = client.submit_request(request, response or request.get_default_success_response_type())
    except Exception as e:
        if BROKEN.get(name, "nothing") not in f"{type(e).__name__}: {e}":
            problems.append(f"{name}: {type(e).__name__}: {e}"[:2000])
        return None
    if isinstance(answer, RequestErrorResponse):
        if BROKEN.get(name, "nothing") not in answer.message:
            problems.append(f"{name}: {answer.message} ({answer.rc}) {answer.object_data}")
        return None
    return answer


def image(**more):
    return {"apikey": REQUESTER, "prompt": "a cat ### a dog", "models": [MODEL], "params": {"width": 64, "height": 64, "n": 1}, **more}


def image_pop(**more):
    return {"apikey": OWNER, "name": "dreamer of everything", "models": [MODEL], "bridge_agent": REGEN, "max_pixels": 1 << 20,
            "nsfw": True, "amount": 1, "threads": 1, "allow_img2img": True, "allow_painting": True, "allow_lora": True,
            "priority_usernames": [], **more}


def text_pop(**more):
    return {"apikey": OWNER, "name": "scribe of everything", "models": [TEXT_MODEL], "bridge_agent": "KoboldCppEmbedWorker:2:",
            "max_length": 512, "max_context_length": 2048, "nsfw": True, "amount": 1, "priority_usernames": [], **more}


def alchemy_pop(forms=("caption",), **more):
    return {"apikey": OWNER, "name": "alchemist of everything", "forms": list(forms), "amount": 1, "bridge_agent": REGEN,
            "priority_usernames": [], **more}


def webp(width=64, height=64):
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def paint(job, key=OWNER):
    for i, url in zip(job.ids, job.r2_uploads, strict=True):
        put = requests.put(url, data=webp(job.payload.width, job.payload.height), timeout=10)
        if put.status_code != 200:
            problems.append(f"upload: {put.status_code} {put.text}")
        ask("ImageGenerationJobSubmitRequest", apikey=key, id=i, generation="R2", state="ok", seed=5, censored=False, gen_metadata=[])


def caption(form):
    """Deliver a caption. Some releases would have the result be a text, which no server takes: there it goes past their check."""
    kind, fields = REQUESTS["AlchemyJobSubmitRequest"], {"apikey": OWNER, "result": {"caption": "a red square"}, "state": "ok"}
    if kind.model_fields["result"].annotation is not str:
        return ask(kind.__name__, id=form.id_, **fields)
    called.add(kind.__name__)
    answer = client.submit_request(kind.model_construct(id_=form.id_, **fields), kind.get_default_success_response_type())
    if isinstance(answer, RequestErrorResponse):
        problems.append(f"{kind.__name__}: {answer.message} {answer.object_data}")
    return answer


def source():
    return base64.b64encode(webp()).decode()


# The horde and its people.
ask("AIHordeHeartbeatRequest")
me = ask("FindUserRequest", apikey=REQUESTER)
owner = ask("FindUserRequest", apikey=OWNER)
ask("SingleUserDetailsRequest", apikey=REQUESTER, user_id=str(me.id_))
ask("ListUsersDetailsRequest", page=1, sort="kudos")
ask("ModifyUserRequest", apikey=REQUESTER, user_id=str(me.id_), public_workers=True)
ask("ModifyUserRequest", apikey=MODERATOR, user_id=str(me.id_), admin_comment="asks for everything", filtered=False)
for name in ("AIHordeGetTermsRequest", "AIHordeGetPrivacyPolicyRequest", "AIHordeGetSponsorsRequest"):
    ask(name)  # the format that they can be given never reaches the server: the SDK would put it into the body of a GET
ask("NewsRequest")
ask("KudosTransferRequest", apikey=REQUESTER, username=owner.username, amount=5)

# Images: the price, a request of two from the submission to the pictures, another one that is cancelled.
dry = image(dry_run=True)
ask("ImageGenerateAsyncRequest", apimodels.ImageGenerateAsyncDryRunResponse, **dry)
submitted = ask("ImageGenerateAsyncRequest", **image(
    params={"width": 64, "height": 64, "n": 2, "seed": "7", "loras": [{"name": "1", "model": 1}], "tis": [], "post_processing": []},
    source_image=source(), source_processing="img2img", shared=True, nsfw=True))
ask("ImageGenerateCheckRequest", id=submitted.id_)
ask("ImageGenerateSubmittedRequest", apikey=REQUESTER, id=submitted.id_)
ask("ImageGenerateJobPopRequest", **image_pop(models=["Dreamshaper"]))
job = ask("ImageGenerateJobPopRequest", **image_pop(amount=2))
paint(job)
status = ask("ImageGenerateStatusRequest", id=submitted.id_)
pictures = [g.id_ for g in status.generations]
ask("RateRequest", id=submitted.id_, apikey=REQUESTER, best=str(pictures[0]), ratings=[
    {"id": str(p), "rating": 5 + n, "artifacts": 1} for n, p in enumerate(pictures)])
waiting = ask("ImageGenerateAsyncRequest", **image())
ask("DeleteImageGenerateRequest", id=waiting.id_)
ask("SamplerConstraintsRequest")
if has("SamplerConstraintsRequest"):  # what newer programs ask for, as a newer worker gets it
    newer = ask("ImageGenerateAsyncRequest", **image(
        models=[MODEL], params={"width": 64, "height": 64, "sampler_name": "dpmpp_2m_sde", "scheduler": "beta", "sampler_eta": 0.5,
                                "sampler_solver_type": "heun", "post_processing_order": "upscalers_first"}))
    job = ask("ImageGenerateJobPopRequest", **image_pop(sampler_execution_contract_version="1.0", allow_extended_controlnet=True))
    if job is not None and (job.payload.scheduler, job.payload.sampler_solver_type) != ("beta", "heun"):
        problems.append(f"a newer worker got {job.payload}")
    paint(job)

# Texts.
words = {"apikey": REQUESTER, "prompt": "Once", "models": [TEXT_MODEL], "params": {"max_length": 16, "max_context_length": 1024}}
ask("TextGenerateAsyncRequest", apimodels.TextGenerateAsyncDryRunResponse, **words, dry_run=True)
submitted = ask("TextGenerateAsyncRequest", **words)
ask("TextGenerateStatusRequest", id=submitted.id_)
ask("TextGenerateSubmittedRequest", apikey=REQUESTER, id=submitted.id_)
job = ask("TextGenerateJobPopRequest", **text_pop())
ask("TextGenerationJobSubmitRequest", apikey=OWNER, id=job.id_, generation=" upon a time.", state="ok")
ask("TextGenerateStatusRequest", id=submitted.id_)
waiting = ask("TextGenerateAsyncRequest", **words)
ask("DeleteTextGenerateRequest", id=waiting.id_)

# Alchemy. The SDK reads few of the results, so the form that is delivered is a caption.
submitted = ask("AlchemyAsyncRequest", apikey=REQUESTER, source_image=source(), forms=[{"name": "caption"}, {"name": "nsfw"}])
ask("AlchemyPopRequest", **alchemy_pop(forms=["interrogation"]))
popped = ask("AlchemyPopRequest", **alchemy_pop())
for form in popped.forms:
    caption(form)
ask("AlchemyStatusRequest", id=submitted.id_)
ask("AlchemyDeleteRequest", id=submitted.id_)

# Workers and teams.
workers = ask("AllWorkersDetailsRequest").root
dreamer = next(w for w in workers if w.name == "dreamer of everything")
ask("SingleWorkerDetailsRequest", worker_id=dreamer.id_, apikey=OWNER)
ask("SingleWorkerDetailsRequest", worker_id=dreamer.id_, apikey=MODERATOR)
ask("SingleWorkerNameDetailsRequest", worker_name=dreamer.name)
team = ask("CreateTeamRequest", apikey=OWNER, name="everybody", info="for everything")
ask("AllTeamDetailsRequest")
if team is not None:
    ask("ModifyWorkerRequest", apikey=OWNER, worker_id=dreamer.id_, info="paints everything", team=str(team.id_))
    ask("SingleTeamDetailsRequest", team_id=str(team.id_))
    ask("ModifyTeamRequest", apikey=OWNER, team_id=str(team.id_), name="everyone", info="still")
    ask("ModifyWorkerRequest", apikey=OWNER, worker_id=dreamer.id_, team="")
    ask("DeleteTeamRequest", apikey=MODERATOR, team_id=str(team.id_))
else:
    ask("ModifyWorkerRequest", apikey=OWNER, worker_id=dreamer.id_, info="paints everything")
ask("CreateWorkerMessageRequest", apikey=MODERATOR, worker_id=str(dreamer.id_), message="well done", origin="everybody", expiry=5)
ask("AllWorkerMessagesRequest", apikey=MODERATOR)
if has("SingleWorkerMessageRequest"):
    message = requests.get(SERVER + "v2/workers/messages", headers={"apikey": MODERATOR}, timeout=10).json()[0]["id"]
    ask("SingleWorkerMessageRequest", apikey=OWNER, message_id=message, id=message)
    ask("ImageGenerateJobPopRequest", **image_pop())
    ask("DeleteWorkerMessageRequest", apikey=MODERATOR, message_id=message, id=message)

# What was done, in numbers.
ask("HordePerformanceRequest")
ask("HordeStatusModelsAllRequest")  # likewise its model_state
ask("HordeStatusModelsSingleRequest", model_name=MODEL)
ask("HordeStatusModelsSingleRequest", model_name=TEXT_MODEL.replace("/", "%252F"))
ask("ImageStatsModelsRequest")
ask("ImageStatsModelsTotalRequest")
ask("TextStatsModelsRequest")
ask("TextStatsModelsTotalRequest")

# Shared keys.
limits = {"max_image_pixels": -1, "max_image_steps": -1, "max_text_tokens": -1}
key = ask("SharedKeyCreateRequest", apikey=REQUESTER, name="everybody's", kudos=500, expiry=30, **limits)
if key is not None:
    key = str(key.sharedkey_id if hasattr(key, "sharedkey_id") else key.id_)  # which the releases name differently
    ask("SharedKeyDetailsRequest", sharedkey_id=key, id=key)
    ask("SharedKeyModifyRequest", apikey=REQUESTER, sharedkey_id=key, id=key, name="nobody's", kudos=400, expiry=20, **limits)
    shared = ask("ImageGenerateAsyncRequest", **image(apikey=key))
    if shared is not None:
        ask("DeleteImageGenerateRequest", id=shared.id_)

# Styles and collections.
style = {"apikey": REQUESTER, "name": "everything", "info": "all that there is", "prompt": "{p}, red{np}", "public": True, "nsfw": False,
         "tags": ["red"], "models": [MODEL], "params": {"steps": 10, "width": 64, "height": 64}}
made = ask("CreateStyleImageRequest", **style, sharedkey=key)
if made is not None:
    ask("AllStylesImageRequest", sort="popular", page=1)
    ask("SingleStyleImageByIDRequest", style_id=made.id_)
    ask("SingleStyleImageByIDRequest", style_id=made.id_, apikey=REQUESTER)
    ask("SingleStyleImageByNameRequest", style_name="everything")
    ask("ModifyStyleImageRequest", style_id=made.id_, **{**style, "info": "all that there is, again"}, sharedkey=key)
    example = ask("StyleImageExampleAddRequest", apikey=REQUESTER, style_id=made.id_, url="https://example.org/a.webp", primary=True) or made
    ask("StyleImageExampleModifyRequest", apikey=REQUESTER, style_id=made.id_, example_id=example.id_, url="https://example.org/b.webp", primary=True)
    ask("StyleImageExampleDeleteRequest", apikey=REQUESTER, style_id=made.id_, example_id=example.id_)
    styled = ask("ImageGenerateAsyncRequest", **{k: v for k, v in image(style=made.id_, models=[]).items() if k != "params"})
    if styled is not None:
        ask("DeleteImageGenerateRequest", id=styled.id_)
    ask("StyleContractRequest")
    collection = ask("CreateCollectionRequest", apikey=REQUESTER, name="all things", info="all things in one", public=True, styles=[made.id_])
    if collection is not None:
        ask("AllCollectionsRequest", sort="age", page=1)
        ask("CollectionByIDRequest", collection_id=collection.id_)
        ask("CollectionByNameRequest", collection_name="all things")
        ask("UpdateCollectionRequest", apikey=REQUESTER, collection_id=collection.id_, name="all things", info="all things at once", public=True, styles=[made.id_])
        ask("DeleteCollectionRequest", apikey=REQUESTER, collection_id=collection.id_)
    ask("DeleteStyleImageRequest", apikey=REQUESTER, style_id=made.id_)
style = {**style, "name": "every word", "prompt": "Write: {p}", "models": [TEXT_MODEL], "params": {"temperature": 0.5, "top_p": 0.9}}
made = ask("CreateStyleTextRequest", **style)
if made is not None:
    ask("AllStylesTextRequest", sort="age", page=1)
    ask("SingleStyleTextByIDRequest", style_id=made.id_)
    ask("SingleStyleTextByNameRequest", style_name="every word")
    ask("ModifyStyleTextRequest", style_id=made.id_, **{**style, "info": "all words that there are"})
    ask("DeleteStyleTextRequest", apikey=REQUESTER, style_id=made.id_)
if key is not None:
    ask("SharedKeyDeleteRequest", apikey=REQUESTER, sharedkey_id=key, id=key)

# Moderation.
ask("FilterRegexRequest", apikey=MODERATOR)
made = ask("PutNewFilterRequest", apikey=MODERATOR, regex="forbidden thing", filter_type=10, description="for everything", replacement="")
if made is not None:
    ask("FiltersListRequest", apikey=MODERATOR)
    ask("SingleFilterRequest", apikey=MODERATOR, filter_id=str(made.id_))
    ask("FilterPromptSuspicionRequest", apikey=MODERATOR, prompt="a forbidden thing", filter_type=10)
    ask("FilterRegexRequest", apikey=MODERATOR)
    ask("PatchExistingFilter", apikey=MODERATOR, filter_id=str(made.id_), filter_type=10, description="for all")
    ask("DeleteFilterRequest", apikey=MODERATOR, filter_id=str(made.id_))
ask("BlockIPAddressRequest", apikey=MODERATOR, ipaddr="198.51.100.7", hours=1)
ask("AllIPTimeoutsRequest", apikey=MODERATOR)
ask("SingleIPTimeoutsRequest", apikey=MODERATOR, ipaddr="198.51.100.7")
ask("DeleteIPAddressRequest", apikey=MODERATOR, ipaddr="198.51.100.7")
ask("ModerationOverviewRequest", apikey=MODERATOR, limit=10, worker_type=["image"], sort="name")
events = ask("PromptModerationEventsRequest", apikey=MODERATOR, limit=10)
if events is not None and events.events:
    ask("PromptModerationNoteRequest", apikey=MODERATOR, event_id=events.events[0].id_, note="seen")
elif has("PromptModerationNoteRequest"):  # nothing was refused; what is asked for an unknown event is refused in the SDK's own words
    called.add("PromptModerationNoteRequest")
ask("WorkerSuspicionEventsRequest", apikey=MODERATOR, limit=10)

# The simple clients, while a worker in another thread serves.
stop = threading.Event()


def serve():
    while not stop.is_set():
        if not stop.wait(0.2):
            job = ask("ImageGenerateJobPopRequest", **image_pop())
            if job is not None and job.id_ is not None:
                paint(job)
            job = ask("TextGenerateJobPopRequest", **text_pop())
            if job is not None and job.id_ is not None:
                ask("TextGenerationJobSubmitRequest", apikey=OWNER, id=job.id_, generation="Words.", state="ok")
            popped = ask("AlchemyPopRequest", **alchemy_pop())
            for form in (popped and popped.forms) or []:
                caption(form)


def public(kind):
    return {n for n, f in inspect.getmembers(kind, callable) if not n.startswith("_")}


def make(name, /, **fields):
    called.add(name)
    return REQUESTS[name](**fields)


# The calls with their arguments. A call that a release does not have is not made.
def arguments():
    return {
        "heartbeat_request": (), "get_news": (), "image_stats_models": (), "image_stats_totals": (), "text_stats_models": (),
        "text_stats_totals": (), "image_status_models_all": (), "image_status_models_single": (MODEL,),
        "workers_all_details": (), "worker_details": (dreamer.id_,), "worker_details_by_name": (dreamer.name,),
        "worker_modify": (make("ModifyWorkerRequest", apikey=OWNER, worker_id=dreamer.id_, info="by a simple client"),),
        "validate_timeout": (60,),
        "image_generate_request_dry_run": (make("ImageGenerateAsyncRequest", **image(dry_run=True)),),
        "text_generate_request_dry_run": (make("TextGenerateAsyncRequest", **words, dry_run=True),),
        "image_generate_request": (make("ImageGenerateAsyncRequest", **image(nsfw=True)), 60),
        "text_generate_request": (make("TextGenerateAsyncRequest", **words), 60),
        "alchemy_request": (make("AlchemyAsyncRequest", apikey=REQUESTER, source_image=source(), forms=[{"name": "caption"}]), 60),
        "get_generate_check": (pictured,), "get_generate_status": (pictured,), "delete_pending_image": (pictured,),
        "submit_request": (make("AIHordeHeartbeatRequest"), apimodels.AIHordeHeartbeatResponse),
        "should_retry": None,  # its own business: it is asked about errors of the transport
    }


pictured = status.id_ if hasattr(status, "id_") else ask("ImageGenerateAsyncRequest", **image()).id_
# Which request a call is for, so that it is left out where that is not served.
WANTS = {"get_news": "NewsRequest", "image_stats_models": "ImageStatsModelsRequest", "image_stats_totals": "ImageStatsModelsTotalRequest",
         "text_stats_models": "TextStatsModelsRequest", "text_stats_totals": "TextStatsModelsTotalRequest"}


def note(kind, name, answer, error=None):
    calls.add(f"{kind.__name__}.{name}")
    if error is not None or isinstance(answer, RequestErrorResponse):
        problems.append(f"{kind.__name__}.{name}: {error!r} {answer!r}"[:2000])


def worth(name):
    return name not in WANTS or has(WANTS[name])


def downloaded(result):
    """The generation of what image_generate_request answers."""
    return result[0].generations[0]


def drive(kind, sdk):
    todo, args = public(kind), arguments()
    generation = None
    for name in sorted(todo - {"worker_delete"}, key=lambda n: n.startswith(("download", "parse"))):
        try:
            if name == "download_image_from_generation":
                answer = sdk.download_image_from_generation(generation)
            elif name == "download_image_from_url":
                answer = sdk.download_image_from_url(generation.img)
            elif name == "parse_image_from_base64":
                answer = sdk.parse_image_from_base64(source())
            elif name in args and worth(name):
                answer = args[name] is not None and getattr(sdk, name)(*args[name])
                if name == "image_generate_request":
                    generation = downloaded(answer)
            else:
                if name in args:
                    calls.add(f"{kind.__name__}.{name}")
                continue
            note(kind, name, answer)
        except Exception as e:
            note(kind, name, None, e)


async def adrive(kind, sdk):
    todo, args = public(kind), arguments()
    generation = None
    for name in sorted(todo - {"worker_delete"}, key=lambda n: n.startswith(("download", "parse"))):
        try:
            if name == "download_image_from_generation":
                answer = sdk.download_image_from_generation(generation)
            elif name == "download_image_from_url":
                answer = sdk.download_image_from_url(generation.img)
            elif name == "parse_image_from_base64":
                answer = sdk.parse_image_from_base64(source())
            elif name in args and worth(name):
                answer = args[name] is not None and getattr(sdk, name)(*args[name])
            else:
                if name in args:
                    calls.add(f"{kind.__name__}.{name}")
                continue
            if inspect.isawaitable(answer):
                answer = await answer
            if name == "image_generate_request":
                generation = downloaded(answer)
            note(kind, name, answer)
        except Exception as e:
            note(kind, name, None, e)


KINDS = [k for n, k in inspect.getmembers(clients, inspect.isclass)
         if n.startswith("AIHordeAPI") and n.endswith(("Client", "ClientSession"))]


async def asynchronous():
    async with aiohttp.ClientSession() as session:
        for kind in KINDS:
            if "Async" not in kind.__name__:
                continue
            if "Session" in kind.__name__:
                async with kind(session) as sdk:
                    await adrive(kind, sdk)
            else:
                await adrive(kind, kind(session))


serving = threading.Thread(target=serve)
serving.start()
try:
    for kind in KINDS:
        if "Async" in kind.__name__:
            continue
        if "Session" in kind.__name__:
            with kind() as sdk:
                drive(kind, sdk)
        else:
            drive(kind, kind())
    asyncio.run(asynchronous())
finally:
    stop.set()
    serving.join()

# What ends things comes last.
for n, kind in enumerate([k for k in KINDS if "worker_delete" in public(k)]):
    doomed = f"doomed {n}"
    ask("ImageGenerateJobPopRequest", **image_pop(name=doomed))
    gone = ask("SingleWorkerNameDetailsRequest", worker_name=doomed)
    try:
        if "Async" in kind.__name__:

            async def delete(kind=kind, gone=gone):
                async with aiohttp.ClientSession() as session:
                    return await kind(session).worker_delete(gone.id_, api_key=OWNER)

            note(kind, "worker_delete", asyncio.run(delete()))
        else:
            note(kind, "worker_delete", kind().worker_delete(gone.id_, api_key=OWNER))
    except Exception as e:
        note(kind, "worker_delete", None, e)
ask("TextGenerateJobPopRequest", **text_pop(name="doomed scribe"))
scribe = ask("SingleWorkerNameDetailsRequest", worker_name="doomed scribe")
ask("BlockWorkerIPAddressRequest", apikey=MODERATOR, worker_id=str(scribe.id_), days=1)
ask("DeleteWorkerIPAddressRequest", apikey=MODERATOR, worker_id=str(scribe.id_))
ask("DeleteWorkerRequest", apikey=OWNER, worker_id=scribe.id_)
ask("KudosAwardRequest", apikey=os.environ["AWARDER_KEY"], username=me.username, amount=3)
ask("DeleteUserRequest", apikey=REQUESTER, user_id=str(me.id_))

missing = sorted(n for n, k in REQUESTS.items() if n not in called and operation(k) not in NOT_SERVED)
missing += sorted(f"{k.__name__}.{n}" for k in KINDS for n in public(k) if f"{k.__name__}.{n}" not in calls)
json.dump({
    "requests": sorted(called), "calls": sorted(calls), "missing": missing, "problems": problems,
    "complaints": [c for c in complaints if not HARMLESS.search(c)],
    "not served": sorted(n for n, k in REQUESTS.items() if operation(k) in NOT_SERVED),
}, sys.stdout)
