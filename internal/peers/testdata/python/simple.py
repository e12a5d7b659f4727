# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simple clients, which wait for results by themselves, while a worker in another thread serves."""

import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import requests
from peer import OWNER, REQUESTER, UNKNOWN_KEY, image_pop, image_request, raised, say, text_pop
from PIL import Image

from horde_sdk.ai_horde_api import apimodels as m
from horde_sdk.ai_horde_api.ai_horde_clients import (
    AIHordeAPIAsyncSimpleClient,
    AIHordeAPIManualClient,
    AIHordeAPISimpleClient,
)
from horde_sdk.ai_horde_api.consts import GENERATION_STATE

worker = AIHordeAPIManualClient()
stop = threading.Event()


def paint(job, i, url):
    """Deliver a WebP of the asked size whose colour tells its place in the batch."""
    out = io.BytesIO()
    colour = (255, 0, 0) if i == job.ids[0] else (0, 0, 255)
    Image.new("RGB", (job.payload.width, job.payload.height), colour).save(out, "WEBP", lossless=True)
    assert requests.put(url, data=out.getvalue()).status_code == 200
    done = worker.submit_request(m.ImageGenerationJobSubmitRequest(
        apikey=OWNER, id=i, generation="R2", state=GENERATION_STATE.ok, seed=int(job.payload.seed)), m.JobSubmitResponse)
    assert isinstance(done, m.JobSubmitResponse), done


def dream():
    while not stop.is_set():
        job = worker.submit_request(m.ImageGenerateJobPopRequest(**image_pop(amount=4)), m.ImageGenerateJobPopResponse)
        if job.id_ is None:
            stop.wait(0.2)
            continue
        for i, url in zip(job.ids, job.r2_uploads, strict=True):
            paint(job, i, url)


def scribble():
    while not stop.is_set():
        job = worker.submit_request(m.TextGenerateJobPopRequest(**text_pop()), m.TextGenerateJobPopResponse)
        if job.id_ is None:
            stop.wait(0.2)
            continue
        done = worker.submit_request(m.TextGenerationJobSubmitRequest(
            apikey=OWNER, id=job.id_, generation=job.payload.prompt + ", it said.", state=GENERATION_STATE.ok), m.JobSubmitResponse)
        assert isinstance(done, m.JobSubmitResponse), done


client = AIHordeAPISimpleClient()
checks = []


def pictures():
    status, _ = client.image_generate_request(
        m.ImageGenerateAsyncRequest(**image_request(params={"n": 2, "width": 128, "height": 64, "seed": "9", "steps": 5})),
        timeout=60, check_callback=checks.append)
    return sorted(
        [image.format, image.size, image.convert("RGB").getpixel((3, 3)), g.seed]
        for g in status.generations
        for image in [client.download_image_from_generation(g)])


def text():
    status, _ = client.text_generate_request(
        m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Hello", models=[], params={"max_length": 16}), timeout=60)
    return [g.text for g in status.generations]


async def asynchronous():
    async with aiohttp.ClientSession() as session:
        aio = AIHordeAPIAsyncSimpleClient(session, apikey=REQUESTER)

        async def picture():
            status, _ = await aio.image_generate_request(
                m.ImageGenerateAsyncRequest(**image_request(params={"width": 64, "height": 128}, r2=False)), timeout=60)
            image, _ = await aio.download_image_from_generation(status.generations[0])
            # r2=False asks for the picture itself in place of a link to it.
            return [image.format, image.size, status.generations[0].img.startswith("http")]

        async def words():
            status, _ = await aio.text_generate_request(
                m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Good bye", models=["facebook/opt-125m"]), timeout=60)
            return [g.text for g in status.generations]

        async def refused():
            try:
                await aio.image_generate_request(m.ImageGenerateAsyncRequest(**image_request(apikey=UNKNOWN_KEY)))
            except Exception as e:
                return [type(e).__name__, str(e)]

        return await asyncio.gather(picture(), words(), refused(), aio.heartbeat_request())


with ThreadPoolExecutor() as pool:
    serving = [pool.submit(dream), pool.submit(scribble)]
    try:
        waiting = [pool.submit(pictures), pool.submit(text), pool.submit(asyncio.run, asynchronous())]
        a, b, (c, d, refusal, heartbeat) = [w.result() for w in waiting]
    finally:
        stop.set()
    for s in serving:
        s.result()

say("pictures", a)
say("callback", [type(checks[0]).__name__, checks[-1].done, checks[-1].finished])
say("text", b)
say("picture of the asynchronous client", c)
say("text of the asynchronous client", d)
say("refusal of the asynchronous client", refusal)
say("heartbeat of the asynchronous client", heartbeat.message)
say("heartbeat", client.heartbeat_request().message)
say("dry run", client.image_generate_request_dry_run(m.ImageGenerateAsyncRequest(**image_request(dry_run=True))))
say("text dry run", client.text_generate_request_dry_run(
    m.TextGenerateAsyncRequest(apikey=REQUESTER, prompt="Hello", models=[], dry_run=True)))
say("refusal", raised(client.image_generate_request, m.ImageGenerateAsyncRequest(**image_request(apikey=UNKNOWN_KEY))))
say("refused source image", raised(client.image_generate_request, m.ImageGenerateAsyncRequest(
    **image_request(source_image="bm90IGFuIGltYWdl", source_processing="img2img"))))
workers = say("workers", sorted(w.name for w in client.workers_all_details().root))
one = client.workers_all_details("fake peers worker").root[0]
say("worker", client.worker_details(one.id_).requests_fulfilled)
say("worker by name", client.worker_details_by_name("fake peers scribe").requests_fulfilled)
say("models", [x.name for x in client.image_status_models_all()])
say("model", [x.name for x in client.image_status_models_single("Deliberate")])
say("modify", client.worker_modify(m.ModifyWorkerRequest(apikey=OWNER, worker_id=one.id_, maintenance=True)))
say("modified", client.worker_details(one.id_).maintenance_mode)
say("delete", raised(lambda: client.worker_delete(one.id_, api_key=OWNER)))
