"""Recorded results, and the README tables that are made of them.

    python -m shared.results            # writes the tables again
    python -m shared.results --check    # exits with 1 where a README differs

A README says where its table goes, between two comments:

    <!-- results -->
    <!-- /results -->
"""

import datetime
import pathlib
import re

from shared.errors import InputError
from shared.files import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


def record(folder, card, test):
    """Writes `folder`/<preset>.json: what was measured, and all that is needed to do it again.

    Args:
        folder: `apps/<app>/results`.
        card: the model card of the SavedModel that was scored.
        test: the figures, by the app's `evaluate`.

    Returns:
        the file's path.
    """
    path = pathlib.Path(folder, f"{card['preset']}.json")
    notes = read_json(path).get("notes", {}) if path.exists() else {}  # peers, written by hand
    path.parent.mkdir(exist_ok=True)
    today = datetime.date.today().isoformat()
    write_json(path, {**card, "evaluated": today, "test": test, "notes": notes})
    return path


def check_data(trained_on, here):
    """Raises InputError where the data is not that of the model.

    Args:
        trained_on, here: {split: SHA-256}.
    """
    differ = [split for split in trained_on if trained_on[split] != here[split]]
    if differ:
        raise InputError(
            f"the model was trained beside other data: {', '.join(differ)} has another SHA-256"
        )
