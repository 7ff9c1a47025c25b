"""BLEU and chrF of an exported translation model on the test pairs, beside two baselines.

python -m apps.machine_translation.evaluate saved_models/machine_translation_multi30k_en_de --data-dir DIR
"""

import collections
import itertools
import pathlib
import re
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from shared import plots, results
from shared.errors import InputError, reported
from shared.files import write_jsonl
from shared.serving import export
from shared.serving.clients import SavedModelClient
from shared.text.vocabulary import END_TOKEN

from . import data
from .config import Config
from .serve import N_BEST

COLUMNS = ("input", "target", "output", "score")  # of the predictions
UNSEPARATED = "zh", "ja", "th"  # languages without spaces between words
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char"}  # of BLEU; other languages have 13a


def evaluate(folder, config, predictions=None):
    """Translates the test sentences through the SavedModel in `folder`.

    Args:
        folder: a version folder, or the folder that holds versions.
        config: says where the pairs are.
        predictions: a .jsonl file to write, an object for each pair: `COLUMNS`; and beside it a picture
            of what some of them attended to, alignment.png. None writes none.

    Returns:
        a dict: `metric` in words, its `value`, the `baseline`'s name and `baseline_value`; and more.
    """
    client = SavedModelClient(folder)
    sentences, references = zip(*data.examples(config, "test"), strict=True)
    beams = []
    for signature, beam in (
        ("greedy", 1),
        ("serving_default", config.beam_width),
        ("n_best", N_BEST),
    ):
        outputs, score = _translate(client, signature, sentences)
        figures, metrics = scores(outputs, references, config)
        beams.append({"beam": beam, **figures})
        if signature == "serving_default":
            test, default, best = figures, outputs, score
    if predictions:
        rows = zip(sentences, references, default, best.tolist(), strict=True)
        write_jsonl(predictions, (dict(zip(COLUMNS, row, strict=True)) for row in rows))
        _picture(client, sentences, pathlib.Path(predictions).with_name("alignment.png"))
    headline = "exact_match" if config.source == "embedded" else "bleu_lowercase"
    baselines = {
        "copying the sentence": sentences,
        "translation of the nearest sentence": _nearest(config, sentences),
    }
    baselines = {name: scores(b, references, config)[0] for name, b in baselines.items()}
    name = max(baselines, key=lambda name: baselines[name][headline])
    return {
        "metric": metrics[headline],
        "value": test[headline],
        "baseline": name,
        "baseline_value": baselines[name][headline],
        **test,
        "baselines": baselines,
        "beams": beams,
        "pairs": len(sentences),
    }


def scores(outputs, references, config):
    """What `sacrebleu` says of `outputs`, and the share of them that is right to the letter.

    Returns:
        a dict of `bleu`, `bleu_lowercase`, `chrf` and `exact_match` (percent), and one of each in words.
    """
    try:
        import sacrebleu
    except ImportError:
        raise InputError("BLEU needs the package sacrebleu: pip install sacrebleu") from None
    tokenize = BLEU_TOKENIZERS.get(config.languages[1][:2], "13a")
    made = {
        "bleu": sacrebleu.BLEU(tokenize=tokenize),
        "bleu_lowercase": sacrebleu.BLEU(tokenize=tokenize, lowercase=True),
        "chrf": sacrebleu.CHRF(),
    }
    found, words = {}, {}
    for name, metric in made.items():
        found[name] = round(metric.corpus_score(list(outputs), [list(references)]).score, 2)
        words[name] = f"{'chrF' if name == 'chrf' else 'BLEU'} ({metric.get_signature()})"
    same = np.mean([o == r for o, r in zip(outputs, references, strict=True)])
    found["exact_match"] = round(100 * float(same), 2)
    words["exact_match"] = "translations right to the letter, %"
    return found, words


def _translate(client, signature, sentences, batch_size=32):
    """The best translation of each sentence, and its score."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))  # less padding
    outputs, score = [""] * len(order), np.zeros(len(order))
    for first in tqdm(range(0, len(order), batch_size), desc=signature, mininterval=1):
        rows = order[first : first + batch_size]
        answer = client.predict(signature, [sentences[i] for i in rows])
        best = answer["outputs"], answer["score"]
        if signature == "n_best":
            best = [part[:, 0] for part in best]
        for i, output, value in zip(rows, *best, strict=True):
            outputs[i], score[i] = output.decode(), value
    return outputs, score


def _nearest(config, sentences):
    """For each sentence, the translation of the train sentence with which it shares most words.

    Most: the sum of the words' idf, divided by the square root of the other's length, so that long
    sentences, which share something with all, do not always win.
    """
    pairs = data.examples(config, "train")
    words = [_words(source, config) for source, _ in pairs]
    where = collections.defaultdict(list)
    for i, of_one in enumerate(words):
        for word in of_one:
            where[word].append(i)
    length = np.sqrt([max(1, len(w)) for w in words])
    found = []
    for sentence in sentences:
        shared = np.zeros(len(pairs))
        for word in _words(sentence, config):
            if word in where:
                shared[where[word]] += np.log(len(pairs) / len(where[word])) + 1e-3
        found.append(pairs[int(np.argmax(shared / length))][1])
    return found


def _words(sentence, config):
    """Its words and marks, a set; where no spaces part them, its characters and pairs of these."""
    sentence = sentence.lower()
    if config.languages[0][:2] in UNSEPARATED:
        return {*sentence, *map("".join, itertools.pairwise(sentence))}
    return set(re.findall(r"\w+|[^\w\s]", sentence))


def _picture(client, sentences, path, how_many=4):
    """Draws what the translations of a few sentences of middling length attended to."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    middle = order[len(order) // 2 :][:how_many]
    answer = client.predict("align", [sentences[i] for i in middle])
    panels = []
    for row in range(len(middle)):
        rows, columns = answer["target_length"][row], answer["source_length"][row]
        panels.append(
            (
                answer["attention"][row, :rows, :columns],
                [_label(t) for t in answer["target_tokens"][row, :rows]],
                [_label(t) for t in answer["source_tokens"][row, :columns]],
            )
        )
    plots.attention(panels, path)


def _label(token):
    """What stands for a token in a picture: neither a sentence's end nor a space would be seen."""
    return END_TOKEN if token == b"\n" else token.decode().strip() or "\u2423"


@reported
def main(argv=None):
    """Prints the figures of a SavedModel, and records them if asked."""

    def command(
        folder: Annotated[pathlib.Path, tyro.conf.Positional],
        data_dir: str = "",
        record: bool = False,
        picture: pathlib.Path | None = None,
    ):
        """Evaluate an exported model on the test pairs.

        Args:
            folder: saved_models/<name>, or a version in it
            data_dir: folder with the data, where the model was trained from files
            record: write the result to results/<preset>.json of this app
            picture: a PNG file to write, of what some translations attended to
        """
        card = export.card_of(folder, __package__)
        config = Config(**{**card["config"], "data_dir": data_dir})
        results.check_data(card["data"], data.digests(config))
        test = evaluate(folder, config)
        for name, value in test.items():
            print(f"{name:28} {value}")
        if picture:
            sentences = [source for source, _ in data.examples(config, "test")]
            _picture(SavedModelClient(folder), sentences, picture)
        if record:
            print(results.record(pathlib.Path(__file__).parent / "results", card, test))

    tyro.cli(command, prog=f"python -m {__package__}.evaluate", args=argv)


if __name__ == "__main__":
    main()
