#!/usr/bin/env python3
"""Drive a running studio with the package `openai`: generations, edits, streams, errors, models.

    python3 scripts/clients/openai_client.py --url http://127.0.0.1:7860
"""

import base64
import io

import openai
from PIL import Image

from checks import Checks, arguments, is_idle, picture, png

ARGUMENTS = arguments(__doc__)
SIDE = ARGUMENTS.size
SIZE = f"{SIDE}x{SIDE}"
CLIENT = openai.OpenAI(base_url=f"{ARGUMENTS.url}/v1", api_key=ARGUMENTS.key, max_retries=0)
FEW_STEPS = {"steps": 2, "seed": 7}


def decoded(b64):
    """A picture in base64."""
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def models(checks):
    names = [model.id for model in CLIENT.models.list()]
    checks.expect("models are listed", len(names) > 0, names)
    checks.expect("a model is found by its name", CLIENT.models.retrieve(names[0]).id == names[0])
    try:
        CLIENT.models.retrieve("no-such-model")
        checks.expect("an unknown model is not found", False, "no error")
    except openai.NotFoundError as error:
        checks.expect("an unknown model is not found", error.code == "model_not_found", error.body)


def generations(checks):
    answer = CLIENT.images.generate(prompt="a red ring", size=SIZE, n=2, extra_body=FEW_STEPS)
    checks.expect("two pictures are drawn", len(answer.data) == 2, len(answer.data))
    first = decoded(answer.data[0].b64_json)
    checks.expect("they are PNGs of the size that was asked for", (first.format, first.size) == ("PNG", (SIDE, SIDE)), first)
    checks.expect("their parameters are in them", "a red ring" in first.info.get("parameters", ""), first.info)
    checks.expect("their seeds are told", [datum.seed for datum in answer.data] == [7, 8], answer.data[0].model_extra)
    usage = answer.usage
    checks.expect("tokens are counted", usage.total_tokens == usage.input_tokens + usage.output_tokens > 0, usage)
    checks.expect("a request has an id", bool(answer._request_id), answer._request_id)
    again = CLIENT.images.generate(prompt="a red ring", size=SIZE, n=2, extra_body=FEW_STEPS)
    checks.expect("the same request gives the same pictures", again.data[1].b64_json == answer.data[1].b64_json)
    for model in ("dall-e-3", "gpt-image-1"):
        alias = CLIENT.images.generate(model=model, prompt="a red ring", size=SIZE, extra_body=FEW_STEPS)
        checks.expect(f"{model} stands for the default model", alias.data[0].b64_json == answer.data[0].b64_json)
    jpeg = CLIENT.images.generate(
        prompt="a red ring", size=SIZE, output_format="jpeg", output_compression=80, quality="low", extra_body=FEW_STEPS
    )
    checks.expect("JPEGs are drawn", decoded(jpeg.data[0].b64_json).format == "JPEG" and jpeg.output_format == "jpeg", jpeg.output_format)
    url = CLIENT.images.generate(prompt="a red ring", size=SIZE, response_format="url", extra_body=FEW_STEPS).data[0]
    checks.expect("addresses are told on request", url.b64_json is None and url.url.startswith(ARGUMENTS.url), url.url)


def streams(checks):
    events = list(
        CLIENT.images.generate(prompt="a red ring", size=SIZE, stream=True, partial_images=2, extra_body={"steps": 12, "seed": 11})
    )
    kinds = [event.type for event in events]
    checks.expect("a stream ends with the picture", kinds[-1:] == ["image_generation.completed"], kinds)
    checks.expect("no more pictures come on the way than were asked for", len(events) <= 3, kinds)
    indexes = [event.partial_image_index for event in events[:-1]]
    checks.expect("pictures on the way are counted from 0", indexes == list(range(len(indexes))), indexes)
    sizes = {decoded(event.b64_json).size for event in events}
    checks.expect("all have the size that was asked for", sizes == {(SIDE, SIDE)}, sizes)
    checks.expect("the last event counts tokens", events[-1].usage.total_tokens > 0, events[-1].usage)


def edits(checks):
    start = ("start.png", png(picture(SIDE)), "image/png")
    mask = picture(SIDE).convert("RGBA")
    mask.putalpha(255)
    mask.paste((0, 0, 0, 0), (0, 0, SIDE // 2, SIDE))
    for name, image in (("a picture", start), ("a list of one", [start])):
        answer = CLIENT.images.edit(image=image, prompt="a red ring", size=SIZE, extra_body=FEW_STEPS)
        checks.expect(f"{name} is changed", decoded(answer.data[0].b64_json).size == (SIDE, SIDE))
    answer = CLIENT.images.edit(
        image=start, mask=("mask.png", png(mask), "image/png"), prompt="a red ring", size=SIZE, extra_body=FEW_STEPS
    )
    kept = (SIDE // 2, 0, SIDE, SIDE)
    same = decoded(answer.data[0].b64_json).convert("RGB").crop(kept).tobytes() == picture(SIDE).crop(kept).tobytes()
    checks.expect("what is not masked stays as it is", same)
    events = list(CLIENT.images.edit(image=start, prompt="a red ring", size=SIZE, stream=True, extra_body=FEW_STEPS))
    checks.expect("an edit is streamed", events[-1].type == "image_edit.completed", events[-1].type)


def loras(checks):
    if ARGUMENTS.lora is None:
        return
    body = FEW_STEPS | {"loras": [{"name": ARGUMENTS.lora, "scale": 1.0}]}
    drawn = CLIENT.images.generate(prompt="a red ring", size=SIZE, extra_body=body)
    plain = CLIENT.images.generate(prompt="a red ring", size=SIZE, extra_body=FEW_STEPS)
    checks.expect("a LoRA changes the picture", drawn.data[0].b64_json != plain.data[0].b64_json)


def errors(checks):
    cases = [
        ("an unknown model", {"model": "no-such-model"}, openai.NotFoundError, "model"),
        ("a size that cannot be", {"size": f"{SIDE + 1}x{SIDE}"}, openai.BadRequestError, "size"),
        ("too many pictures", {"n": 1000}, openai.BadRequestError, "n"),
        ("a transparent background", {"background": "transparent"}, openai.BadRequestError, "background"),
        ("an unknown sampler", {"extra_body": {"sampler": "Eulre"}}, openai.BadRequestError, "sampler"),
        ("an unknown LoRA", {"extra_body": {"loras": [{"name": "no-such-lora"}]}}, openai.BadRequestError, "loras[0].name"),
    ]
    for what, fields, kind, param in cases:
        try:
            CLIENT.images.generate(**({"prompt": "a red ring", "size": SIZE} | fields))
            checks.expect(f"{what} is refused", False, "no error")
        except openai.APIStatusError as error:
            found = (type(error), error.param)
            checks.expect(f"{what} is refused by name", found == (kind, param), (found, error.body))
    try:
        CLIENT.images.edit(image=("start.png", b"no picture", "image/png"), prompt="a red ring", size=SIZE)
        checks.expect("what is no picture is refused", False, "no error")
    except openai.BadRequestError as error:
        checks.expect("what is no picture is refused by name", error.param == "image", error.body)


def impatience(checks):
    """The client gives up, asks again by itself, and gives up again; no job of it may be left."""
    impatient = CLIENT.with_options(timeout=1, max_retries=1)
    try:
        impatient.images.generate(prompt="a red ring", size=SIZE, n=8, extra_body={"steps": 500})
        checks.expect("the client gives up", False, "it was quick enough")
    except openai.APITimeoutError:
        checks.expect("the client gives up", True)
    with CLIENT.images.with_streaming_response.generate(
        prompt="a red ring", size=SIZE, n=8, stream=True, extra_body={"steps": 500}
    ) as response:
        checks.expect("a stream begins", response.status_code == 200, response.status_code)
    checks.expect("whoever goes away leaves no job behind", is_idle(ARGUMENTS, seconds=10))


Checks().run(models, generations, streams, edits, loras, errors, impatience)
