#!/usr/bin/env bash
# Expected: merging an adapter into the weights gives the network that was trained.
# Seen:     LoHa is merged with the factor alpha / rank TWICE. Live it has it once. At
#           alpha = rank / 4 the merged model has a quarter of what was trained, at
#           twice the rank the double; only alpha = rank is right. Both ways to merge
#           (the network that was trained, the one made from its file) do it, also with
#           tucker convolutions. LoRA, LoKr, GLoRA and Diag-OFT are merged right.
# Matters:  an alpha of 1 or of half the rank is a usual recipe. The merged checkpoint is
#           then much weaker than the previews and than the adapter applied from its
#           file, with no warning. Merge with the multiplier rank / alpha.
# With:     lycoris_lora 4.1.3, torch 2.13.0
# Date:     2026-11-27
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet lycoris_lora==4.1.3 torch==2.13.0

cat > check.py <<'PY'
import importlib.metadata
import logging

logging.disable(logging.WARNING)
import torch
from lycoris import LycorisNetwork, create_lycoris, create_lycoris_from_weights

for name in ("lycoris_lora", "torch"):
    print(name, importlib.metadata.version(name).split("+")[0])
RANK = 4
LycorisNetwork.apply_preset({"target_module": ["Linear", "Conv2d"], "target_name": [".*"]})


def layer(kind, weight):
    one = torch.nn.Linear(16, 24, bias=False) if kind == "linear" else torch.nn.Conv2d(16, 24, 3, bias=False)
    if weight is not None:
        one.weight.data = weight.clone()
    return torch.nn.Sequential(one)


def shares(algorithm, alpha, kind, **options):
    """Merged change as a share of the change that was live, by both ways."""
    torch.manual_seed(0)
    net = layer(kind, None)
    weight = net[0].weight.detach().clone()
    options = {"linear_dim": RANK, "linear_alpha": alpha, "conv_dim": RANK, "conv_alpha": alpha, **options}
    trained = create_lycoris(net, 1.0, algo=algorithm, **options)
    trained.apply_to()
    for parameter in trained.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    probe = torch.randn(64, 16) if kind == "linear" else torch.randn(8, 16, 6, 6)
    with torch.no_grad():
        live = net(probe) - layer(kind, weight)(probe)
    file = {key: value.detach().clone() for key, value in trained.state_dict().items()}
    trained.restore()
    trained.merge_to(1.0)
    other = layer(kind, weight)
    create_lycoris_from_weights(1.0, None, other, file)[0].merge_to(1.0)
    with torch.no_grad():
        merged = [model(probe) - layer(kind, weight)(probe) for model in (net, other)]
    return [((m * live).sum() / (live * live).sum()).item() for m in merged]


for algorithm in ("lora", "lokr", "glora", "diag-oft", "loha"):
    for alpha in (1, 2, 4, 8):
        got = shares(algorithm, alpha, "linear", **({"factor": 4} if algorithm == "lokr" else {}))
        print(f"{algorithm}, rank {RANK}, alpha {alpha}: merged / live {got[0]:.3f}, from the file {got[1]:.3f}")
        want = alpha / RANK if algorithm == "loha" else 1
        assert all(abs(share - want) < 1e-3 for share in got)
for tucker in (False, True):
    got = shares("loha", 1, "conv", use_tucker=tucker)
    print(f"loha on 3x3, tucker {tucker}, alpha 1: merged / live {got[0]:.3f}, from the file {got[1]:.3f}")
    assert all(abs(share - 1 / RANK) < 1e-3 for share in got)
print("as described: LoHa is merged with alpha / rank squared")
PY
venv/bin/python check.py
# Output seen:
#   lycoris_lora 4.1.3
#   torch 2.13.0
#   lora, rank 4, alpha 1: merged / live 1.000, from the file 1.000
#   lora, rank 4, alpha 2: merged / live 1.000, from the file 1.000
#   lora, rank 4, alpha 4: merged / live 1.000, from the file 1.000
#   lora, rank 4, alpha 8: merged / live 1.000, from the file 1.000
#   lokr, rank 4, alpha 1: merged / live 1.000, from the file 1.000
#   lokr, rank 4, alpha 2: merged / live 1.000, from the file 1.000
#   lokr, rank 4, alpha 4: merged / live 1.000, from the file 1.000
#   lokr, rank 4, alpha 8: merged / live 1.000, from the file 1.000
#   glora, rank 4, alpha 1: merged / live 1.000, from the file 1.000
#   glora, rank 4, alpha 2: merged / live 1.000, from the file 1.000
#   glora, rank 4, alpha 4: merged / live 1.000, from the file 1.000
#   glora, rank 4, alpha 8: merged / live 1.000, from the file 1.000
#   diag-oft, rank 4, alpha 1: merged / live 1.000, from the file 1.000
#   diag-oft, rank 4, alpha 2: merged / live 1.000, from the file 1.000
#   diag-oft, rank 4, alpha 4: merged / live 1.000, from the file 1.000
#   diag-oft, rank 4, alpha 8: merged / live 1.000, from the file 1.000
#   loha, rank 4, alpha 1: merged / live 0.250, from the file 0.250
#   loha, rank 4, alpha 2: merged / live 0.500, from the file 0.500
#   loha, rank 4, alpha 4: merged / live 1.000, from the file 1.000
#   loha, rank 4, alpha 8: merged / live 2.000, from the file 2.000
#   loha on 3x3, tucker False, alpha 1: merged / live 0.250, from the file 0.250
#   loha on 3x3, tucker True, alpha 1: merged / live 0.250, from the file 0.250
#   as described: LoHa is merged with alpha / rank squared
