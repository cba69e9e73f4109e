"""Read a user's texts as token ids for a transformer: by the folder's own tokenizer, or as ids that are given."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qacomp.calibration.block_calibration import TextInputs
from qacomp.calibration.block_model import BlockModel, Feed
from qacomp.calibration.drawn_texts import WORDS, drawn_texts
from qacomp.calibration.transformer import Transformer
from qacomp.datasets.custom import call_custom
from qacomp.datasets.npz import read_arrays
from qacomp.errors import DataError
from qacomp.extras import naming_extra
from qacomp.formats.regular import read_small

_LARGEST_FILE = 1 << 30  # bytes of a file of texts
_TOKENS = 256  # most of one text
_FEWEST = 8  # tokens of the last window of a stream
_TEXTS = 256  # that are taken
_TRIED, _MOST_TOGETHER = 16, 16  # texts on which changed weights are tried; texts of equal length in one run
_HELD = 5  # one of so many texts is held back for the comparison of two ways of rounding

Ids = NDArray[np.int64]


def text_inputs(spec: str, folder: Path, model: BlockModel, seed: int) -> TextInputs:
    """Return calibration inputs of a spec: text:FILE, npz:FILE with input_ids, module:function, or words.

    A text is at most 256 tokens; of more than 256 texts so many are drawn by the seed. `words` are drawn at random
    from the model's own vocabulary, by the seed. Raises DataError.
    """
    made, by_chance = model.made, spec == WORDS
    if by_chance:
        marks = _marks(folder)
        texts = drawn_texts(model, min(_TOKENS, made.most_tokens or _TOKENS), _TEXTS, marks or ([], []), seed)
    else:
        texts = token_ids(spec, folder, made)
    texts = _fitting(texts, spec, made.words)
    if len(texts) > _TEXTS:
        drawn = np.sort(np.random.default_rng(seed).permutation(len(texts))[:_TEXTS])
        texts = [texts[i] for i in drawn]
    others = texts[1::_HELD] if len(texts) > 1 else texts
    rest = [text for i, text in enumerate(texts) if i % _HELD != 1] or texts
    told = f"{len(texts)} texts of {spec}, {sum(map(len, texts)):,} tokens"
    if by_chance:
        told = f"{len(texts)} texts of words drawn at random, seed {seed}, {sum(map(len, texts)):,} tokens"
        told += "" if marks else ", without marks of start and end, since transformers makes no tokenizer of the folder"
    if made.first is not None:
        told += ", each read by the encoder and predicted by the decoder"
    of_moments, tried, elsewhere = (feeds_of(part, made.first) for part in (rest, _spread(rest), _spread(others)))
    return TextInputs(told, of_moments, tried, elsewhere, by_chance)


def token_ids(spec: str, folder: Path, made: Transformer) -> list[Ids]:
    """Return the token ids of each text of a spec; see `text_inputs`.

    A model that predicts the next token gets a file of texts as one stream in windows; any other each line as a text.
    """
    most = min(_TOKENS, made.most_tokens or _TOKENS)
    kind, _, rest = spec.partition(":")
    if kind == "text":
        data = _file(Path(rest)).decode("utf-8", errors="replace")
        found = _windows(data, folder, made, most) if made.decodes else _tokenized(_lines(data), folder, most)
    elif kind == "npz":
        found = _given(spec, read_arrays(Path(rest)), most)
    else:
        given = call_custom(kind, rest) if rest else None
        if given is None:
            raise DataError(
                f"{spec}: isn't a spec of texts; give text:FILE, npz:FILE with input_ids, module:function, or {WORDS}"
            )
        found = _of_function(spec, given, folder, most)
    return found


def _fitting(texts: Sequence[Ids], spec: str, rows: int) -> list[Ids]:
    """Return the texts of two tokens or more. Raises DataError without any, and for ids beyond the embedding's rows."""
    found = [ids for ids in texts if len(ids) > 1]
    if not found:
        raise DataError(f"{spec}: has no text of two tokens or more; give more text")
    if any(int(ids.min()) < 0 or int(ids.max()) >= rows for ids in found):
        raise DataError(f"{spec}: has token ids that the model's {rows:,} rows don't reach; give the model's own ids")
    return found


def feeds_of(texts: Sequence[Ids], first: int | None = None) -> tuple[Feed, ...]:
    """Return inputs of runs, in each of which texts of equal length are.

    first: the token with which a decoder beside the encoder starts; it then reads the text itself after this token.
    """
    groups: dict[int, list[Ids]] = {}
    for ids in texts:
        groups.setdefault(len(ids), []).append(ids)
    feeds: list[Feed] = []
    for _, group in sorted(groups.items()):
        for start in range(0, len(group), _MOST_TOGETHER):
            together = torch.from_numpy(np.stack(group[start : start + _MOST_TOGETHER]))
            feed = {"input_ids": together, "attention_mask": torch.ones_like(together)}
            if first is not None:
                front = torch.full_like(together[:, :1], first)
                feed["decoder_input_ids"] = torch.cat([front, together[:, :-1]], 1)
            feeds.append(feed)
    return tuple(feeds)


def _spread(texts: Sequence[Ids]) -> list[Ids]:
    return [texts[i * len(texts) // _TRIED] for i in range(_TRIED)] if len(texts) > _TRIED else list(texts)


def _file(path: Path) -> bytes:
    try:
        return read_small(path, _LARGEST_FILE)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); give text:FILE with a file of texts") from error


def _lines(data: str) -> list[str]:
    return [line for line in data.splitlines() if line.strip()]


def _windows(data: str, folder: Path, made: Transformer, most: int) -> list[Ids]:
    """Return the ids of a text in windows of equal length, with what a tokenizer puts in front left out."""
    (ids,) = _encoded([data], folder, special=False)
    found = [ids[start : start + most] for start in range(0, len(ids), most)]
    return [window for window in found if len(window) == most or (len(found) == 1 and len(window) >= _FEWEST)]


def _tokenized(texts: Sequence[str], folder: Path, most: int) -> list[Ids]:
    """Return the ids of each text, with the marks of its start and end, cut off at `most`."""
    return [
        ids if len(ids) <= most else np.concatenate([ids[: most - 1], ids[-1:]])
        for ids in _encoded(texts, folder, special=True)
    ]


def _marks(folder: Path) -> tuple[list[int], list[int]] | None:
    """Return the ids that the folder's tokenizer puts before and behind a text; None if it has none, or a wrong one."""
    try:
        (marked,), (bare,) = (_encoded(["a"], folder, special=special) for special in (True, False))
    except DataError:
        return None
    found = marked.tolist()
    for start in range(len(found) - len(bare) + 1 if len(bare) else 0):
        if found[start : start + len(bare)] == bare.tolist():
            return found[:start], found[start + len(bare) :]
    return [], []


def _encoded(texts: Sequence[str], folder: Path, *, special: bool) -> list[Ids]:
    with naming_extra("text:FILE"):
        import transformers
    transformers.logging.set_verbosity_error()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        files = {"tokenizer.json", "tokenizer_config.json", *tokenizer.vocab_files_names.values()}
        if not any((folder / name).is_file() for name in files):  # transformers makes one that knows no word
            raise FileNotFoundError("none of its files is there")
        found = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    except Exception as error:  # whatever a wrong tokenizer raises in transformers
        why = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"{folder}: transformers makes no tokenizer of it ({why}); give npz:FILE with input_ids"
        ) from error
    return [np.asarray(ids, np.int64) for ids in found]


def _given(spec: str, arrays: Mapping[str, Any], most: int) -> list[Ids]:
    """Return the rows of input_ids, without what attention_mask leaves out."""
    ids = np.asarray(arrays.get("input_ids", ()))
    mask = np.asarray(arrays.get("attention_mask", np.ones(ids.shape)))
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or mask.shape != ids.shape:
        raise DataError(
            f"{spec}: needs input_ids (texts, tokens) of integers, and attention_mask of that shape if there is one"
        )
    return [row[keep != 0][:most].astype(np.int64) for row, keep in zip(ids, mask, strict=True)]


def _of_function(spec: str, given: Any, folder: Path, most: int) -> list[Ids]:
    if isinstance(given, Mapping):
        return _given(spec, given, most)
    texts = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if texts and all(isinstance(text, str) for text in texts):
        return _tokenized(texts, folder, most)
    raise DataError(f"{spec}: must return texts (str), or a mapping with input_ids (texts, tokens)")
