"""The text file that is made from public datasets."""

import gzip

import pytest

from apps.pinyin_conversion import join_text


@pytest.fixture
def folders(tmp_path):
    """Folders in the public formats of the three datasets, as flags."""
    files = {
        "cpp/dev.sent": "发现▁了▁此天体。\n他▁得▁去。\n",
        "cpp/test.sent": "银▁行▁\n",
        "cpp/train.sent": "不用\n",
        "three-am/train.zh": "一个男孩。\n",
        "three-am/val.zh": "不用\n",
        "hotel/ChnSentiCorp_htl_all.csv": 'label,review\n1,很好\n0,\n1,"不错,  ""大""\n\n房间"\n',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
    return [f"--{name}={tmp_path / name}" for name in ("cpp", "three-am", "hotel")]


def error(capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        join_text.main([*argv])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def test_public_files_are_joined_in_order(folders, tmp_path, capsys):
    output = tmp_path / "train.txt"
    join_text.main([*reversed(folders), f"--output={output}"])
    assert output.read_bytes().decode("utf-8") == (
        '发现了此天体。\n他得去。\n银行\n一个男孩。\n很好\n不错, "大" 房间\n'
    )
    printed = capsys.readouterr()
    assert printed.out == f"{output}: 6 lines, 30 characters\n"
    assert printed.err == "1 of 7 texts are empty and left out\n"


def test_mostly_empty_texts_are_refused(tmp_path, capsys):
    (tmp_path / "train.zh").write_text("\n \n好\n", "utf-8")
    output = tmp_path / "train.txt"
    assert "2 of 3 texts are empty" in error(capsys, f"--three-am={tmp_path}", f"--output={output}")
    assert not output.exists()


def test_tables_give_the_same_text(folders, tmp_path):
    tables = {
        "cpp/dev.tsv": "le5\t发现▁了▁此天体。\nde5\t他▁得▁去。\n",
        "cpp/test.tsv.gz": "hang2\t银▁行▁\n",
        "three-am/train.tsv.gz": "A boy.\t一个男孩。\n",
        "hotel/train.tsv": '1\t很好\n1\t不错, "大" 房间\n',
    }
    for name, content in tables.items():
        path = tmp_path / "tables" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        content = content.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    join_text.main([*folders, f"--output={tmp_path / 'one.txt'}"])
    folders = [f"--{name}={tmp_path / 'tables' / name}" for name in ("cpp", "three-am", "hotel")]
    join_text.main([*folders, f"--output={tmp_path / 'two.txt'}"])
    assert (tmp_path / "one.txt").read_bytes() == (tmp_path / "two.txt").read_bytes()


def test_a_dataset_may_be_left_out(folders, tmp_path):
    join_text.main([folders[1], f"--output={tmp_path / 'train.txt'}"])
    assert (tmp_path / "train.txt").read_text("utf-8") == "一个男孩。\n"


def test_nothing_to_join(tmp_path, capsys):
    message = error(capsys, f"--output={tmp_path / 'train.txt'}")
    assert message == "error: no text to join: give --cpp, --three-am or --hotel\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cpp/test.sent", None, "must have one of test.sent or test.tsv. Received: none of them"),
        ("cpp/test.tsv", b"le5\ta\n", "Received: test.sent, test.tsv"),
        ("three-am/train.zh", b"a\n\xff\n", "train.zh, line 2: not UTF-8"),
        ("three-am/train.zh", b"", "train.zh is empty"),
        ("hotel/ChnSentiCorp_htl_all.csv", b"label,text\n1,a\n", "Received: label,text"),
        ("hotel/ChnSentiCorp_htl_all.csv", b"label,review\n1,a\n1\n", "row 2: no review"),
        ("hotel/ChnSentiCorp_htl_all.csv", b'label,review\n1,"a\n', "line 2: not valid CSV"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(
    folders, tmp_path, capsys, name, content, reason
):
    path, output = tmp_path / name, tmp_path / "train.txt"
    path.unlink() if content is None else path.write_bytes(content)
    assert reason in error(capsys, *folders, f"--output={output}")
    assert not output.exists()


def test_missing_folders_are_named(folders, tmp_path, capsys):
    missing = tmp_path / "missing"
    output = f"--output={tmp_path / 'train.txt'}"
    assert "--hotel must be a folder" in error(capsys, f"--hotel={missing}", output)
    message = error(capsys, *folders, f"--output={missing / 'train.txt'}")
    assert f"cannot write --output {missing / 'train.txt'}: No such file" in message
