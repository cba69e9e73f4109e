"""A folder that is calibrated without data: texts of words drawn at random from the model's own vocabulary."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import qacomp
from qacomp.calibration.block_model import BlockModel
from qacomp.calibration.texts import text_inputs
from qacomp.calibration.transformer import transformer_of
from qacomp.errors import DataError

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
RESERVED = slice(10, 60)
WORDS, FIRST, LAST = 120, 118, 119


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sentence encoder whose rows 10 to 59 were never trained, with a tokenizer that marks start and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    made = transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=WORDS, max_position_embeddings=48))
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # weights that are far from each other's
    made.embeddings.word_embeddings.weight.data[RESERVED] *= 0.1
    made.save_pretrained(tmp_path / "net")
    vocabulary = {"a": 0, "[UNK]": 1, "[CLS]": FIRST, "[SEP]": LAST} | {f"w{i}": i for i in range(2, FIRST)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    fast.save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def drawn(folder: Path, seed: int = 0) -> Any:
    held = load_file(folder / "model.safetensors")
    model = BlockModel(transformer_of(folder, len(held)), held.__getitem__, list(held))
    return text_inputs("words", folder, model, seed)


def test_words_are_those_that_were_trained_by_rank_and_marked(folder: Path) -> None:
    inputs = drawn(folder)
    feeds = [feed["input_ids"].numpy() for feed in (*inputs.of_moments, *inputs.others)]
    assert {ids.shape[1] for ids in feeds} == {32, 48}  # no longer than the model's positions
    assert all((ids[:, 0] == FIRST).all() and (ids[:, -1] == LAST).all() for ids in feeds)
    inside = np.concatenate([ids[:, 1:-1].reshape(-1) for ids in feeds])
    assert not ((inside >= RESERVED.start) & (inside < RESERVED.stop)).any()
    assert (inside < 10).mean() > 2 * 10 / (WORDS - 50)  # far more than uniformly
    assert inputs.words and "words drawn at random, seed 0" in inputs.text
    assert "marks" not in inputs.text
    again, other = drawn(folder), drawn(folder, 1)
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(inputs.tried, again.tried, strict=True))
    assert any(not torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(inputs.tried, other.tried, strict=True))


def test_without_a_tokenizer_texts_have_no_marks_and_say_so(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "without marks of start and end, since transformers makes no tokenizer" in drawn(folder).text
    (folder / "my.txt").write_text("a w2 w3\n" * 20)
    with pytest.raises(DataError, match="transformers makes no tokenizer of it"):
        qacomp.compress(folder, output=folder.parent / "x.qac", calibration=f"text:{folder / 'my.txt'}")


def test_marks_beyond_the_models_rows_are_one_clear_error(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace(str(LAST), str(10 * WORDS)))
    with pytest.raises(DataError, match="words: has token ids that the model's 120 rows don't reach"):
        drawn(folder)


def test_a_folder_is_compressed_without_data_and_its_outputs_are_compared(folder: Path, tmp_path: Path) -> None:
    done = qacomp.compress(folder, output=tmp_path / "x.qac", calibration="words", target_size="24kB", min_size=1)
    assert any("calibrated on 256 texts of words drawn at random" in note for note in done.notes)
    told = done.to_json()
    assert told["verdict"] in ("good", "doubtful") and told["agreement"] is not None
    assert told["metric"] is None  # of words at random a metric says nothing
