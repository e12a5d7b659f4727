# SPDX-License-Identifier: AGPL-3.0-or-later
"""The manual client: every call by itself, as a client and as a worker."""

import requests
from peer import OWNER, REGEN, REQUESTER, UNKNOWN_ID, UNKNOWN_KEY, image_pop, image_request, raised, say, text_pop

from horde_sdk.ai_horde_api import apimodels as m
from horde_sdk.ai_horde_api.ai_horde_clients import AIHordeAPIClientSession, AIHordeAPIManualClient
from horde_sdk.ai_horde_api.consts import GENERATION_STATE

client = AIHordeAPIManualClient()


def ask(request, response=None):
    return client.submit_request(request, response or request.get_default_success_response_type())


def in_order(status):
    """A status with its pictures sorted by id."""
    status.generations.sort(key=lambda g: str(g.id_))
    return status


say("heartbeat", ask(m.AIHordeHeartbeatRequest()))
user = say("find_user", ask(m.FindUserRequest(apikey=REQUESTER)))
say("user by id", ask(m.SingleUserDetailsRequest(user_id=str(user.id_))))
say("users", sorted(u.username for u in ask(m.ListUsersDetailsRequest(page=1)).root))

# An image request of two, from the price to the pictures.
say("dry run", ask(
    m.ImageGenerateAsyncRequest(**image_request(params={"n": 2}, dry_run=True)), m.ImageGenerateAsyncDryRunResponse))
request = say("submit", ask(m.ImageGenerateAsyncRequest(**image_request(params={"n": 2, "seed": "5", "steps": 20, "width": 512}))))
say("check before a worker came", client.get_generate_check(request.id_))
say("pop for another model", ask(m.ImageGenerateJobPopRequest(**image_pop(models=["Dreamshaper"]))))
job = say("pop", ask(m.ImageGenerateJobPopRequest(**image_pop(amount=2))))
say("check while in work", client.get_generate_check(request.id_))
say("follow-up", [str(p["id"]) == str(job.ids[0]) or str(p["id"]) in map(str, job.ids) for p in job.get_follow_up_returned_params()])
# The SDK sorted ids and upload URLs, each by itself: they must still belong together.
say("pairing", [str(i) in url for i, url in zip(job.ids, job.r2_uploads, strict=True)])
for i, url in zip(job.ids, job.r2_uploads, strict=True):
    put = requests.put(url, data=("picture of " + str(i)).encode())
    say("upload", put.status_code)
    say("deliver", ask(m.ImageGenerationJobSubmitRequest(
        apikey=OWNER, id=i, generation="R2", state=GENERATION_STATE.ok, seed="1312", censored=False,
        gen_metadata=[
            {"type": "batch_index", "value": "see_ref", "ref": str(job.ids.index(i))},
            {"type": "lora", "value": "download_failed", "ref": "some lora"},
        ])))
say("deliver again", ask(m.ImageGenerationJobSubmitRequest(
    apikey=OWNER, id=job.ids[0], generation="R2", state=GENERATION_STATE.ok, seed=1312)))
say("check when done", client.get_generate_check(request.id_))
status = say("status", in_order(client.get_generate_status(request.id_)))
say("complete", [status.is_job_complete(2), status.is_job_possible()])
say("download", [requests.get(g.img).text == "picture of " + str(g.id_) for g in status.generations])
say("cancel when done", in_order(client.delete_pending_image(request.id_)))

# The test-suite of the SDK sends the seed as a string; its models would make a number of it.
request = say("submit one", ask(m.ImageGenerateAsyncRequest(**image_request(
    nsfw=False, censor_nsfw=True, slow_workers=True, trusted_workers=False, shared=False, replacement_filter=True))))
job = ask(m.ImageGenerateJobPopRequest(**image_pop()))
say("payload of one", job.payload)
say("upload by a stranger", requests.put(job.r2_upload.split("?")[0], data=b"x").status_code)
say("upload one", requests.put(job.r2_upload, data=b"not an image").status_code)
say("deliver with a text for a seed", ask(m.ImageGenerationJobSubmitRequest.model_construct(
    apikey=OWNER, id_=job.id_, generation="R2", state=GENERATION_STATE.ok, seed="1312", censored=False, gen_metadata=[])))
say("status of one", client.get_generate_status(request.id_))

# Cancelling what waits, and what the SDK does by itself when a program fails between pop and submit.
request = ask(m.ImageGenerateAsyncRequest(**image_request(params={"n": 3})))
say("cancel", client.delete_pending_image(request.id_))
say("check when cancelled", client.get_generate_check(request.id_))
request = ask(m.ImageGenerateAsyncRequest(**image_request()))


def fail_while_working():
    with AIHordeAPIClientSession() as session:
        session._apikey = OWNER  # what its clean-up calls use
        popped = session.submit_request(m.ImageGenerateJobPopRequest(**image_pop()), m.ImageGenerateJobPopResponse)
        assert popped.id_ is not None
        raise RuntimeError("the machine is on fire")


say("a worker that fails", raised(fail_while_working))
say("check after the fault", client.get_generate_check(request.id_))


def fail_while_waiting():
    with AIHordeAPIClientSession() as session:
        global request
        request = session.submit_request(m.ImageGenerateAsyncRequest(**image_request()), m.ImageGenerateAsyncResponse)
        raise RuntimeError("the user is gone")


client.delete_pending_image(request.id_)
say("a client that fails", raised(fail_while_waiting))
say("check after its clean-up", client.get_generate_check(request.id_))

# Text.
say("text dry run", ask(
    m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Once", models=[], params={"max_length": 80}, dry_run=True), m.TextGenerateAsyncDryRunResponse))
request = say("text submit", ask(m.TextGenerateAsyncRequest(
    apikey=REQUESTER, prompt="Once", models=["facebook/opt-125m"],
    params={"max_length": 80, "max_context_length": 1024, "temperature": 0.7, "top_k": 40, "stop_sequence": ["\n\n"]})))
say("text pop for another model", ask(m.TextGenerateJobPopRequest(**text_pop(models=["facebook/opt-350m"]))))
job = say("text pop", ask(m.TextGenerateJobPopRequest(**text_pop())))
say("text status while in work", ask(m.TextGenerateStatusRequest(id=request.id_)))
say("text deliver", ask(m.TextGenerationJobSubmitRequest(
    apikey=OWNER, id=job.id_, generation=" upon a time", state=GENERATION_STATE.ok)))
say("text status", ask(m.TextGenerateStatusRequest(id=request.id_)))
request = ask(m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Once", models=[], params={"n": 2}))
say("text cancel", ask(m.DeleteTextGenerateRequest(id=request.id_)))
say("text status when cancelled", ask(m.TextGenerateStatusRequest(id=request.id_)))

# Workers.
workers = say("workers", ask(m.AllWorkersDetailsRequest()))
dreamer = next(w for w in workers if w.type_ == "image")
say("image workers", [w.name for w in ask(m.AllWorkersDetailsRequest(type="image"))])
say("text workers", [w.name for w in ask(m.AllWorkersDetailsRequest(type="text"))])
say("workers of a name", [w.name for w in ask(m.AllWorkersDetailsRequest(name="FAKE PEERS SCRIBE"))])
say("worker by id", ask(m.SingleWorkerDetailsRequest(worker_id=dreamer.id_, apikey=OWNER)))
say("worker by name", ask(m.SingleWorkerNameDetailsRequest(worker_name="fake peers scribe")))
say("find_user of the owner", [len(ask(m.FindUserRequest(apikey=OWNER)).worker_ids), ask(m.FindUserRequest(apikey=OWNER)).worker_count])
say("models", sorted((x.name, x.type_, x.count) for x in ask(m.HordeStatusModelsAllRequest(type="image"))))
say("text models", ask(m.HordeStatusModelsAllRequest(type="text")))
say("model", ask(m.HordeStatusModelsSingleRequest(model_name="Deliberate")))
say("model with a slash", ask(m.HordeStatusModelsSingleRequest(model_name="facebook%252Fopt-125m")))
say("performance", ask(m.HordePerformanceRequest()))
say("maintenance on", ask(m.ModifyWorkerRequest(
    apikey=OWNER, worker_id=dreamer.id_, maintenance=True, maintenance_msg="Gone fishing: maintenance mode")))
say("pop in maintenance", ask(m.ImageGenerateJobPopRequest(**image_pop())))
say("maintenance off", ask(m.ModifyWorkerRequest(apikey=OWNER, worker_id=dreamer.id_, maintenance=False)))
say("rename", ask(m.ModifyWorkerRequest(apikey=OWNER, worker_id=dreamer.id_, name="renamed worker", info="by the SDK")))
say("modify by a stranger", ask(m.ModifyWorkerRequest(apikey=REQUESTER, worker_id=dreamer.id_, maintenance=True)))
say("delete by a stranger", ask(m.DeleteWorkerRequest(apikey=REQUESTER, worker_id=dreamer.id_)))
say("delete while its results are kept", ask(m.DeleteWorkerRequest(apikey=OWNER, worker_id=dreamer.id_)))
ask(m.ImageGenerateJobPopRequest(**image_pop(name="idle worker")))
idle = ask(m.SingleWorkerNameDetailsRequest(worker_name="idle worker"))
say("delete", ask(m.DeleteWorkerRequest(apikey=OWNER, worker_id=idle.id_)))
say("worker that is gone", ask(m.SingleWorkerDetailsRequest(worker_id=idle.id_)))
say("worker of an unknown name", ask(m.SingleWorkerNameDetailsRequest(worker_name="nobody")))

# Refusals.
say("unknown key", ask(m.ImageGenerateAsyncRequest(**image_request(apikey=UNKNOWN_KEY))))
say("find_user of an unknown key", ask(m.FindUserRequest(apikey=UNKNOWN_KEY)))
say("pop of an unknown key", ask(m.ImageGenerateJobPopRequest(**image_pop(apikey=UNKNOWN_KEY))))
say("pop of the anonymous key", ask(m.ImageGenerateJobPopRequest(**image_pop(apikey="0000000000"))))
say("body that does not validate", raised(ask, m.ImageGenerateAsyncRequest(**image_request(params={"steps": 501}))))
say("text body that does not validate", raised(ask, m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Once", models=[], style="x")))
say("unservable combination", ask(m.ImageGenerateAsyncRequest(**image_request(params={"control_type": "canny"}))))
say("source image that is none", ask(m.ImageGenerateAsyncRequest(**image_request(source_image="bm90IGFuIGltYWdl", source_processing="img2img"))))
say("check of an unknown id", raised(client.get_generate_check, UNKNOWN_ID))
say("status of an unknown id", ask(m.ImageGenerateStatusRequest(id=UNKNOWN_ID)))
say("text status of an unknown id", ask(m.TextGenerateStatusRequest(id=UNKNOWN_ID)))
say("cancelling an unknown id", raised(client.delete_pending_image, UNKNOWN_ID))
say("delivering an unknown job", ask(m.ImageGenerationJobSubmitRequest(
    apikey=OWNER, id=UNKNOWN_ID, generation="R2", state=GENERATION_STATE.ok, seed=1)))
say("unknown user", ask(m.SingleUserDetailsRequest(user_id="4711")))
