"""Where the arithmetic is done: a graphics card if there is one, else the processor; said aloud."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from radkit._optional import optional
from radkit.errors import ModelError

if TYPE_CHECKING:
    import torch


def pick_device(name: str | None = None) -> tuple[torch.device, str]:
    """The device of that name, or the best there is, and what to call it."""
    torch = optional("torch")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = (name or next(kind for kind, found in there.items() if found)).partition(":")[0]
    if not there.get(kind):
        raise ModelError(f"No device {name!r} here; there is {', '.join(k for k, found in there.items() if found)}.")
    device = torch.device(name or kind)
    if kind == "cuda":
        gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        return device, f"the GPU {torch.cuda.get_device_name(device)} with {gib:.0f} GiB"
    if kind == "mps":
        return device, "the GPU of this Mac (MPS)"
    threads, gpu = torch.get_num_threads(), "GPU not asked for" if there["cuda"] or there["mps"] else "no GPU found"
    return device, f"{threads} CPU core{'s' * (threads > 1)} ({gpu})"


def mixed_precision(device: torch.device) -> tuple[Any, Any]:
    """A context and a scaler of the loss for arithmetic of half the width; neither does anything on the processor."""
    torch = optional("torch")
    on = device.type == "cuda"
    wide = not on or torch.cuda.is_bf16_supported(including_emulation=False)  # bfloat16 has the range of float32
    context = torch.autocast(device.type, torch.bfloat16 if wide else torch.float16, enabled=on)
    return context, torch.amp.GradScaler("cuda", init_scale=1024.0, enabled=not wide)


@contextmanager
def memory_watched(device: torch.device, tried: str, remedy: str) -> Iterator[None]:
    """Turn a full graphics card into a ModelError that says what did not fit, and what to do."""
    torch = optional("torch")
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
            raise
        left = ""
        if device.type == "cuda":
            free, total = (n / 2**30 for n in torch.cuda.mem_get_info(device))
            left = f"; {free:.1f} of its {total:.1f} GiB are free"
        raise ModelError(f"The GPU is full: {tried} did not fit{left}. {remedy}") from error
