# SPDX-License-Identifier: AGPL-3.0-or-later
"""The asynchronous manual client: two workers deliver the halves of one request at the same time."""

import asyncio
import base64
import io

import aiohttp
from peer import OWNER, REQUESTER, UNKNOWN_ID, UNKNOWN_KEY, image_pop, image_request, say, text_pop
from PIL import Image

from horde_sdk.ai_horde_api import apimodels as m
from horde_sdk.ai_horde_api.ai_horde_clients import AIHordeAPIAsyncClientSession, AIHordeAPIAsyncManualClient
from horde_sdk.ai_horde_api.consts import GENERATION_STATE


def png(mode, size):
    """A picture of one colour as base64."""
    out = io.BytesIO()
    Image.new(mode, size, "white").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def described(picture):
    """Format and size of a picture in base64."""
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    return [image.format, image.size]


async def raised(awaitable):
    try:
        await awaitable
    except Exception as e:
        return e
    return None


async def serve(session, client, n):
    """What the worker reGen does with a job: pop, upload without a content type, submit; returns rewards."""
    job = await client.submit_request(m.ImageGenerateJobPopRequest(**image_pop(name=f"async worker {n}", amount=2)), m.ImageGenerateJobPopResponse)

    async def deliver(i, url):
        async with session.put(url, data=b"picture of " + str(i).encode(), skip_auto_headers=["Content-Type"]) as put:
            assert put.status == 200, put.status
        return await client.submit_request(m.ImageGenerationJobSubmitRequest(
            apikey=OWNER, id=i, generation="R2", state=GENERATION_STATE.ok, seed=int(job.payload.seed), censored=False,
            gen_metadata=[{"type": "information", "value": "see_ref", "ref": "nothing much"}]), m.JobSubmitResponse)

    answers = await asyncio.gather(*(deliver(i, url) for i, url in zip(job.ids, job.r2_uploads, strict=True)))
    return [[len(job.ids), a.reward] for a in answers]


async def main():
    async with aiohttp.ClientSession() as session:
        client = AIHordeAPIAsyncManualClient(aiohttp_session=session)

        async def ask(request):
            return await client.submit_request(request, request.get_default_success_response_type())

        say("heartbeat", await ask(m.AIHordeHeartbeatRequest()))
        say("find_user", (await ask(m.FindUserRequest(apikey=REQUESTER))).username)
        request = say("submit", await ask(m.ImageGenerateAsyncRequest(**image_request(params={"n": 4, "seed": "7"}))))
        say("check", await client.get_generate_check(request.id_))
        say("rewards", sum(await asyncio.gather(serve(session, client, 1), serve(session, client, 2)), []))
        say("check when done", await client.get_generate_check(request.id_))
        status = await client.get_generate_status(request.id_)
        say("status", [[g.seed, g.state, g.model, g.censored] for g in status.generations])
        say("workers that took part", sorted({g.worker_name for g in status.generations}))

        async def download(g):
            async with session.get(g.img) as response:
                return await response.read() == b"picture of " + str(g.id_).encode()

        say("downloads", await asyncio.gather(*map(download, status.generations)))
        say("cancel", (await client.delete_pending_image(request.id_)).done)

        # A source image and a mask: the worker finds links to them and loads both.
        request = await ask(m.ImageGenerateAsyncRequest(**image_request(
            models=["stable_diffusion_inpainting"], source_image=png("RGB", (70, 50)), source_mask=png("L", (70, 50)), source_processing="inpainting",
            params={"denoising_strength": 0.5})))
        job = await ask(m.ImageGenerateJobPopRequest(**image_pop(models=["stable_diffusion_inpainting"], allow_painting=True)))
        await job.async_download_additional_data(session)
        say("source image", [job.source_processing, job.payload.denoising_strength, job.source_image.startswith("http"),
            described(job.get_downloaded_source_image()), described(job.get_downloaded_source_mask())])
        say("cancel in work", (await client.delete_pending_image(request.id_)).processing)
        say("deliver what was cancelled", await ask(m.ImageGenerationJobSubmitRequest(
            apikey=OWNER, id=job.id_, generation=png("RGB", (64, 64)), state=GENERATION_STATE.ok, seed=2**32 - 1)))
        status = await client.get_generate_status(request.id_)
        say("its status", [status.done, [g.seed for g in status.generations]])

        async with session.get(status.generations[0].img) as response:
            say("a result given as base64", described(base64.b64encode(await response.read())))

        # A batch that may not be one: exact seeds, a pop each.
        request = await ask(m.ImageGenerateAsyncRequest(**image_request(params={"n": 2}, disable_batching=True)))
        say("disable_batching without trust", request)

        # The context manager cancels what a failing program leaves behind.
        try:
            async with AIHordeAPIAsyncClientSession(session, apikey=REQUESTER) as horde:
                request = await horde.submit_request(m.ImageGenerateAsyncRequest(**image_request()), m.ImageGenerateAsyncResponse)
                raise RuntimeError("gone")
        except RuntimeError as e:
            say("a client that fails", e)
        say("check after its clean-up", await client.get_generate_check(request.id_))

        request = say("text submit", await ask(m.TextGenerateAsyncRequest(apikey="0000000000", prompt="Once", models=[])))
        job = await ask(m.TextGenerateJobPopRequest(**text_pop()))
        say("text deliver", await ask(m.TextGenerationJobSubmitRequest(apikey=OWNER, id=job.id_, generation=" upon", state=GENERATION_STATE.ok)))
        say("text status", [[g.text, g.model, g.worker_name, g.seed] for g in (await ask(m.TextGenerateStatusRequest(id=request.id_))).generations])

        say("unknown key", await ask(m.ImageGenerateAsyncRequest(**image_request(apikey=UNKNOWN_KEY))))
        say("unknown id", await raised(client.get_generate_status(UNKNOWN_ID)))
        say("body that does not validate", await raised(ask(m.ImageGenerateAsyncRequest(**image_request(params={"steps": 501})))))


asyncio.run(main())
