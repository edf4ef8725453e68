"""Final latents of the reference samplers, for `tests/reference/published.rs`.

    python make_reference.py COMFYUI > ../data/reference.txt

COMFYUI is a checkout of Comfy-Org/ComfyUI at a125cd8, of which only `comfy/k_diffusion` and `comfy/model_sampling.py` are
loaded. Made with torch 2.15.0, diffusers 0.42.1, torchsde 0.2.6, scipy 1.17.1, in float 64; noise is drawn in float 32 from
seed 42 of torch's CPU generator, or of the Brownian tree where the reference draws it there.

One line a case: `path sampler variant: sum of absolute values, then numbers 0, 383 and 767`. The network is x * t / (t + 1)
with t = 1000 sigma, as velocity on the flow and as noise on the variance-exploding path (where t is what diffusers would
interpolate; here simply 50 sigma). Latents are the deterministic sample of diffusers' scheduler tests.
"""
import sys
import types

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

SEED = 42
FLOW = [0.98, 0.9, 0.77, 0.55, 0.3, 0.1, 0.0]
FROM_ONE = [1.0] + FLOW[1:]
NOT_TO_ZERO = FLOW[:-1] + [0.05]
EXPLODING = [14.6, 6.0, 2.5, 1.1, 0.4, 0.1, 0.0]
SHAPE = (4, 3, 8, 8)


def sample():
    return (torch.arange(768).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2).double()


def load_comfyui(root):
    """ComfyUI's samplers without the rest of it."""
    package = types.ModuleType("comfy")
    package.__path__ = [root + "/comfy"]
    sys.modules["comfy"] = package
    for name in ["model_patcher", "ldm", "ldm.modules", "ldm.modules.diffusionmodules", "ldm.modules.diffusionmodules.util"]:
        sys.modules["comfy." + name] = types.ModuleType("comfy." + name)
    package.model_patcher = sys.modules["comfy.model_patcher"]
    sys.modules["comfy.ldm.modules.diffusionmodules.util"].make_beta_schedule = None
    import comfy.k_diffusion.sampling as sampling
    import comfy.model_sampling as model_sampling

    return sampling, model_sampling


def timestep(path, sigma):
    return 1000 * sigma if path == "flow" else 50 * sigma


class Model:
    """What ComfyUI's samplers call: denoised = model(x, sigma)."""

    def __init__(self, path, model_sampling):
        kind = model_sampling.CONST if path == "flow" else model_sampling.EPS
        settings = type("Settings", (kind,), {"percent_to_sigma": lambda self, share: 1.0 - share})()
        self.path, self.inner_model, self.model_sampling = path, self, settings
        self.model_patcher = types.SimpleNamespace(get_model_object=lambda name: settings)

    def __call__(self, x, sigma):
        sigma = sigma.reshape(-1, 1, 1, 1)
        t = timestep(self.path, sigma)
        return x - sigma * (x * t / (t + 1))


def report(case, x):
    values = [x.abs().sum(), *x.flatten()[[0, 383, 767]]]
    print(f"{case}: " + " ".join(f"{float(value):.7g}" for value in values))


def comfyui(sampling, model_sampling, path, levels, name, variant="-", tree=False, **options):
    sigmas = torch.tensor(levels, dtype=torch.float64)
    x = sample() * (sigmas[0] if path == "exploding" else 1.0)
    if tree:
        source = sampling.BrownianTreeNoiseSampler(x.float(), sigmas[sigmas > 0].min(), sigmas.max(), seed=SEED, cpu=True)
        options["noise_sampler"] = lambda sigma, following: source(sigma.float(), following.float()).double()
    elif "noise" in options:
        generator = torch.Generator().manual_seed(SEED)
        options["noise_sampler"] = lambda sigma, following: torch.randn(SHAPE, generator=generator).double()
    options.pop("noise", None)
    x = getattr(sampling, "sample_" + name)(Model(path, model_sampling), x, sigmas, disable=True, **options)
    report(f"{path} {name} {variant}", x)


def diffusers(scheduler, levels, name, variant):
    """A scheduler of diffusers on given levels of a flow; their timesteps are whole."""
    scheduler.set_timesteps(len(levels) - 1)
    scheduler.sigmas = torch.tensor(levels, dtype=torch.float64)
    scheduler.timesteps = torch.tensor([round(1000 * sigma) for sigma in levels[:-1]])
    x = sample()
    for t in scheduler.timesteps:
        x = scheduler.step(x * float(t) / (float(t) + 1), t, x, return_dict=False)[0]
    report(f"flow {name} {variant}", x)


def main():
    reference = load_comfyui(sys.argv[1])
    for path, levels in [("flow", FLOW), ("exploding", EXPLODING)]:
        run = lambda name, variant="-", **options: comfyui(*reference, path, levels, name, variant, **options)
        for name in ["euler", "heun", "dpmpp_2m", "ipndm", "res_multistep"]:
            run(name)
        run("lcm", noise=True)
        for eta in [1.0, 0.4]:
            run("euler_ancestral", f"eta={eta}", noise=True, eta=eta)
            run("dpmpp_2s_ancestral", f"eta={eta}", noise=True, eta=eta)
            run("dpmpp_sde", f"eta={eta}", tree=True, eta=eta)
            run("dpmpp_2m_sde", f"eta={eta}", tree=True, eta=eta)
            run("dpmpp_2m_sde_heun", f"eta={eta}", tree=True, eta=eta)
            run("dpmpp_3m_sde", f"eta={eta}", tree=True, eta=eta)
    for name in ["euler", "heun", "dpmpp_2m"]:
        comfyui(*reference, "flow", FROM_ONE, name, "from_one")
    comfyui(*reference, "flow", FROM_ONE, "dpmpp_2s_ancestral", "from_one", noise=True)
    for name in ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"]:
        comfyui(*reference, "flow", FROM_ONE, name, "from_one", tree=True)

    flow = dict(use_flow_sigmas=True, prediction_type="flow_prediction")
    for order in [1, 2, 3]:
        for solver in ["midpoint", "heun"]:
            for last, options in [("lower", {}), ("full", dict(lower_order_final=False)), ("euler", dict(lower_order_final=False, euler_at_final=True))]:
                scheduler = DPMSolverMultistepScheduler(
                    solver_order=order, solver_type=solver, final_sigmas_type="sigma_min", **options, **flow
                )
                diffusers(scheduler, NOT_TO_ZERO, "dpmpp_2m_logsnr", f"order={order},{solver},{last}")
        scheduler = DPMSolverMultistepScheduler(solver_order=order, lower_order_final=False, **flow)
        diffusers(scheduler, FLOW, "dpmpp_2m_logsnr", f"order={order},to_zero")
        diffusers(scheduler, FROM_ONE, "dpmpp_2m_logsnr", f"order={order},from_one")
        for solver in ["bh1", "bh2"]:
            scheduler = UniPCMultistepScheduler(solver_order=order, solver_type=solver, **flow)
            diffusers(scheduler, NOT_TO_ZERO, "uni_pc", f"order={order},{solver}")
        diffusers(scheduler, FLOW, "uni_pc", f"order={order},to_zero")
        diffusers(scheduler, [1.0 - 1e-6] + FROM_ONE[1:], "uni_pc", f"order={order},from_one")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
