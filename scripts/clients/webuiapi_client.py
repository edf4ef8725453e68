#!/usr/bin/env python3
"""Drive a running studio with the package `webuiapi`: txt2img, img2img, progress, interrupt, options, LoRAs.

    python3 scripts/clients/webuiapi_client.py --url http://127.0.0.1:7860
"""

import threading
import time

import requests
import webuiapi
from PIL import Image

from checks import Checks, arguments, is_idle, picture

ARGUMENTS = arguments(__doc__)
SIDE = ARGUMENTS.size
SMALL = {"width": SIDE, "height": SIDE, "steps": 2, "seed": 7, "cfg_scale": 4.0}


def new_client():
    """A client, as programs make it."""
    client = webuiapi.WebUIApi(baseurl=f"{ARGUMENTS.url}/sdapi/v1", sampler="Euler", scheduler="automatic")
    if ARGUMENTS.key != "none":
        client.set_auth("me", ARGUMENTS.key)
    return client


CLIENT = new_client()


def same(first, second):
    """Whether two pictures are equal."""
    return first.convert("RGB").tobytes() == second.convert("RGB").tobytes()


def lists(checks):
    for what, found in (
        ("models", CLIENT.util_get_model_names()),
        ("samplers", CLIENT.util_get_sampler_names()),
        ("schedulers", CLIENT.util_get_scheduler_names()),
        ("upscalers", CLIENT.get_upscalers()),
    ):
        checks.expect(f"{what} are listed", len(found) > 0, found)
    for what, ask, kind in (
        ("autoencoders", CLIENT.get_sd_vae, list),
        ("latent upscale modes", CLIENT.get_latent_upscale_modes, list),
        ("LoRAs", CLIENT.get_loras, list),
        ("hypernetworks", CLIENT.get_hypernetworks, list),
        ("face restorers", CLIENT.get_face_restorers, list),
        ("enlargers", CLIENT.get_realesrgan_models, list),
        ("styles", CLIENT.get_prompt_styles, list),
        ("scripts", CLIENT.get_scripts, dict),
        ("embeddings", CLIENT.get_embeddings, dict),
        ("memory", CLIENT.get_memory, dict),
        ("flags", CLIENT.get_cmd_flags, dict),
    ):
        found = ask()
        checks.expect(f"{what} are told as {kind.__name__}", isinstance(found, kind), found)
    checks.expect("lists are read anew", CLIENT.refresh_checkpoints() is None)


def options(checks):
    model = CLIENT.util_get_current_model()
    checks.expect("the model is one of the list", model in CLIENT.util_get_model_names(), model)
    everything = CLIENT.get_options()
    checks.expect("options come back whole", CLIENT.set_options(everything) is None)
    CLIENT.util_set_model(CLIENT.util_get_model_names()[-1])
    chosen = CLIENT.util_get_current_model()
    checks.expect("a model is chosen", chosen == CLIENT.util_get_model_names()[-1], chosen)
    CLIENT.util_set_model(model)
    CLIENT.util_wait_for_ready(check_interval=0.2)
    refused = CLIENT.set_options({"sd_model_checkpoint": "no-such-model"})
    checks.expect("an unknown model is refused in JSON", "no-such-model" in refused["detail"], refused)


def txt2img(checks):
    result = CLIENT.txt2img(prompt="a red ring", negative_prompt="blurry", batch_size=2, **SMALL)
    checks.expect("two pictures are drawn", len(result.images) == 2, len(result.images))
    checks.expect("they have the size that was asked for", result.image.size == (SIDE, SIDE), result.image.size)
    checks.expect("info tells seeds", result.info["all_seeds"] == [7, 8], result.info)
    checks.expect("info tells texts", all("a red ring" in text for text in result.info["infotexts"]), result.info["infotexts"])
    checks.expect("the request comes back", result.parameters["steps"] == 2, result.parameters)
    read = CLIENT.png_info(result.image)
    checks.expect("a picture tells how it was drawn", "Seed: 7" in read.info, read.info)
    again = CLIENT.txt2img(prompt="a red ring", negative_prompt="blurry", **SMALL)
    checks.expect("the same seed gives the same picture", same(again.image, result.image))
    noted = CLIENT.txt2img(prompt="a (red:1.2) ring", sampler_name="Restart", **SMALL)
    checks.expect("what was not done is told", len(noted.info["warnings"]) == 2, noted.info["warnings"])


def img2img(checks):
    start = picture(SIDE)
    result = CLIENT.img2img(images=[start], prompt="a red ring", denoising_strength=0.6, **SMALL)
    checks.expect("a picture is changed", result.image.size == (SIDE, SIDE) and not same(result.image, start))
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    for invert, kept in ((0, (SIDE // 2, 0, SIDE, SIDE)), (1, (0, 0, SIDE // 2, SIDE))):
        result = CLIENT.img2img(
            images=[start], mask_image=mask, mask_blur=0, inpainting_fill=1, inpainting_mask_invert=invert, prompt="a red ring", **SMALL
        )
        holds = same(result.image.crop(kept), start.crop(kept)) and not same(result.image, start)
        checks.expect(f"what the mask keeps stays as it is (inverted: {invert})", holds)


def loras(checks):
    names = [lora["name"] for lora in CLIENT.get_loras()]
    if ARGUMENTS.lora is not None:
        checks.expect("the LoRA is listed", ARGUMENTS.lora in names, names)
        plain = CLIENT.txt2img(prompt="a red ring", **SMALL)
        drawn = CLIENT.txt2img(prompt=f"a red ring <lora:{ARGUMENTS.lora}:1>", **SMALL)
        checks.expect("a LoRA changes the picture", not same(plain.image, drawn.image))
        checks.expect("its tag is no part of the prompt", drawn.info["prompt"] == "a red ring", drawn.info["prompt"])
    refused(checks, "an unknown LoRA", 422, prompt="a red ring <lora:no-such-lora:1>")


def refused(checks, what, status, **fields):
    """Expect a refusal."""
    try:
        CLIENT.txt2img(**(SMALL | fields))
        checks.expect(f"{what} is refused", False, "no error")
    except RuntimeError as error:
        checks.expect(f"{what} is refused", error.args[0] == status, error.args)


def errors(checks):
    refused(checks, "an unknown sampler", 404, sampler_name="Eulre")
    refused(checks, "a second pass", 422, enable_hr=True)
    refused(checks, "a script", 422, script_name="x/y/z plot")
    refused(checks, "a size that cannot be", 422, width=SIDE + 1)
    try:
        CLIENT.interrogate(picture(SIDE))
        checks.expect("descriptions are refused", False, "no error")
    except RuntimeError as error:
        checks.expect("descriptions are refused", error.args[0] == 404, error.args)


def progress_and_interrupt(checks):
    idle = CLIENT.get_progress()
    checks.expect("nothing is drawn at first", (idle["progress"], idle["state"]["job_count"]) == (0, 0), idle)
    outcome = []

    def draw():
        try:
            outcome.append(new_client().txt2img(prompt="a green star", **(SMALL | {"steps": 400, "batch_size": 8, "seed": 99})))
        except RuntimeError as error:
            outcome.append(error)

    drawing = threading.Thread(target=draw)
    drawing.start()
    seen = []
    for _ in range(600):
        seen.append(CLIENT.get_progress())
        if seen[-1]["progress"] > 0.01 or not drawing.is_alive():
            break
        time.sleep(0.05)
    checks.expect("progress is told", 0 < seen[-1]["progress"] < 1, seen[-1])
    checks.expect("interrupt answers", CLIENT.interrupt() == {})
    drawing.join(60)
    checks.expect("the picture ends", not drawing.is_alive() and len(outcome) == 1, outcome)
    ended_early = isinstance(outcome[0], RuntimeError) or len(outcome[0].images) < 8
    checks.expect("it ends before it is finished", ended_early, outcome[0])
    CLIENT.util_wait_for_ready(check_interval=0.2)
    checks.expect("skip answers", CLIENT.skip() is None)


def impatience(checks):
    try:
        body = SMALL | {"prompt": "a blue square", "steps": 400, "batch_size": 8, "seed": 98}
        CLIENT.session.post(f"{CLIENT.baseurl}/txt2img", json=body, timeout=1)
        checks.expect("the client gives up", False, "it was quick enough")
    except requests.Timeout:
        checks.expect("the client gives up", True)
    checks.expect("whoever goes away leaves no job behind", is_idle(ARGUMENTS, seconds=10))


Checks().run(lists, options, txt2img, img2img, loras, errors, progress_and_interrupt, impatience)
