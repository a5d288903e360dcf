"""How long a conversion of VGG16 takes, and how much memory of its own it needs.

Run it with ``python benchmarks/conversion.py``. Every conversion is measured in a process of its
own: the first conversion there ("cold": PyTorch's exporter loads), then more of them, and how far
the memory of the process rose above the model during the second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from measuring import Figure, arguments, print_machine, write_json

FORMS = ("PyTorch, exact", "PyTorch, approximate", "ONNX, exact", "ONNX, approximate")


def child(form: str, repeats: int) -> None:
    """Convert in this process, and print size, times and peak as JSON."""
    import torch

    import fullconv
    from networks import VGG16, as_onnx

    model = VGG16(device="meta").to_empty(device="cpu").eval()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if form.startswith("ONNX"):
        subject = as_onnx(model, (224, 224))
        del model, parameter
    else:
        subject = model
    times, peak = [], 0
    for number in range(repeats + 1):
        before = _memory("VmRSS")
        _forget_peak()
        start = time.perf_counter()
        fcn = fullconv.convert(subject, window=(224, 224), exact=form.endswith("exact"))
        times.append(time.perf_counter() - start)
        if number == 1:
            peak = _memory("VmHWM") - before
        del fcn
    print(json.dumps({"size": size, "times": times, "peak": peak}))


def _memory(field: str) -> int:
    """Return a figure of this process in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _forget_peak() -> None:
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5", encoding="utf-8")


def main() -> None:
    """Measure every form and print a table."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
        return
    options = arguments("How long a conversion of VGG16 takes, and its memory.")
    print_machine()
    print("\n| VGG16, 553 MB | cold s | median s | fastest to slowest | memory beyond the model |")
    print("|---|---|---|---|---|")
    figures = []
    for form in FORMS:
        command = [sys.executable, __file__, "--child", form, str(max(1, options.repeats))]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        held = json.loads(result.stdout.splitlines()[-1])
        share = held["peak"] / held["size"]
        note = f"cold {held['times'][0]:.2f} s; peak {held['peak']} bytes"
        figure = Figure.of("VGG16 conversion", form, held["times"][1:], note)
        figures.append(figure)
        print(
            f"| {form} | {held['times'][0]:.2f} | {figure.median:.2f} | {figure.fastest:.2f} to "
            f"{figure.slowest:.2f} | {held['peak'] / 1e6:.0f} MB ({100 * share:.1f} %) |",
            flush=True,
        )
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
