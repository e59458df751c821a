"""Nadir: SDXL fine-tuning with v-prediction and zero terminal SNR, as a pipeline."""

__version__ = "0.1.0"

import logging

# diffusers and peft import torchao where it is installed. It warns of each of its kernels that was
# built for another GPU, torch of how torchao is written, diffusers of forms of saved weights that
# torchao no longer has. Nothing of it is used here, and every command would begin with it.
for _name in ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer"):
    logging.getLogger(_name).setLevel(logging.ERROR)
