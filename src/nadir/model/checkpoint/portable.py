"""Diffusers folders that every version of the libraries in use reads alike.

transformers 5 writes CLIP otherwise than it did before, and what it writes earlier versions
(4.x, and 5 up to at least 5.5) take for something else without an error: they look for the first
text encoder's weights below `text_model.`, find none and draw them at random; and `CLIPTokenizer`
of 4.x reads `vocab.json` and `merges.txt`, not `tokenizer.json`. The older form is read by all, so
it is what we write.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nadir.ground.files import atomic_path, read_json, write_json, write_text
from nadir.model.checkpoint.folder_files import TEXT_ENCODERS, TOKENIZERS

if TYPE_CHECKING:
    from pathlib import Path

_TEXT_ROOT = "text_model."
_BELOW_ROOT = ("embeddings.", "encoder.", "final_layer_norm.")
_VOCABULARY, _MERGES, _WHOLE = "vocab.json", "merges.txt", "tokenizer.json"
_INDEX = "model_index.json"
_MERGES_HEADER = "#version: 0.2"


def make_portable(folder: Path) -> None:
    """Bring an SDXL in diffusers' layout into the form that all versions read.

    Files that need no change stay untouched. The others are replaced, never written into, so a
    hard link elsewhere keeps its content.

    Args:
        folder: A diffusers folder, such as `save_pretrained` of any version writes.
    """
    for part in TEXT_ENCODERS:
        _name_weights(folder / part)
        _name_precision(folder / part / "config.json")
    for part in TOKENIZERS:
        _write_slow_form(folder / part)
    _name_tokenizers(folder)


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer's folder holds one, in either form."""
    slow = all((folder / name).is_file() for name in (_VOCABULARY, _MERGES))
    return slow or (folder / _WHOLE).is_file()


def _portable_name(name: str) -> str:
    return _TEXT_ROOT + name if name.startswith(_BELOW_ROOT) else name


def _name_weights(folder: Path) -> None:
    """Put a text encoder's weights below `text_model.`, in the index of several files as well."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
        if all(name == _portable_name(name) for name in names):
            continue
        tensors = {_portable_name(name): tensor for name, tensor in load_file(path).items()}
        with atomic_path(path) as temporary:
            # Without this entry transformers 4 refuses the file.
            save_file(tensors, temporary, metadata={"format": "pt"})
    for path in sorted(folder.glob("*.safetensors.index.json")):
        index = read_json(path)
        places = {_portable_name(name): file for name, file in index["weight_map"].items()}
        if places != index["weight_map"]:
            write_json(path, index | {"weight_map": places})


def _name_precision(path: Path) -> None:
    """`dtype` by the name that transformers 4 knows, which 5 reads as well."""
    config = read_json(path)
    if "dtype" in config:
        precision = config.pop("dtype")
        write_json(path, config | {"torch_dtype": precision})


def _write_slow_form(folder: Path) -> None:
    """`vocab.json` and `merges.txt` beside a `tokenizer.json`, where they are missing."""
    whole = folder / _WHOLE
    if not whole.is_file() or all((folder / name).is_file() for name in (_VOCABULARY, _MERGES)):
        return
    value = read_json(whole)
    vocabulary = sorted(value["model"]["vocab"].items(), key=lambda item: item[1])
    write_text(folder / _VOCABULARY, json.dumps(dict(vocabulary), ensure_ascii=False) + "\n")
    merges = [m if isinstance(m, str) else " ".join(m) for m in value["model"]["merges"]]
    # No empty last line: readers would take it for a merge where there are few.
    write_text(folder / _MERGES, "\n".join([_MERGES_HEADER, *merges]))


def _name_tokenizers(folder: Path) -> None:
    """Name the fast tokenizer where the slow one of transformers 4 would miss whole words.

    The slow one finds a "single word" between spaces only, not before a comma.
    """
    index = read_json(folder / _INDEX)
    names = {
        part: ["transformers", "CLIPTokenizerFast"]
        for part in TOKENIZERS
        if _has_whole_words(folder / part / _WHOLE)
    }
    if any(index.get(part) != name for part, name in names.items()):
        write_json(folder / _INDEX, index | names)


def _has_whole_words(path: Path) -> bool:
    added = read_json(path).get("added_tokens") or [] if path.is_file() else []
    return any(token["single_word"] and not token["special"] for token in added)
