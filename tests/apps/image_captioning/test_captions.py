"""Reading of images and captions from files, and the messages about what is wrong with them."""

import dataclasses
import json

import pytest

from apps.image_captioning import data
from apps.image_captioning.config import TINY
from shared.errors import InputError


def splits(*folders, **settings):
    config = dataclasses.replace(
        TINY, source="files", data_dir=tuple(map(str, folders)), **settings
    )
    return data.splits(config)


def test_tables(folder, image_file):
    opened = splits(folder)
    assert {name: len(split) for name, split in opened.items()} == {
        "train": 6,
        "valid": 2,
        "test": 2,
    }
    assert opened["train"][4] == (image_file(4), "Picture 1 , a test .\nthe picture 1")
    assert opened["train"].label(4) == "4.png"
    assert opened["test"].targets[0] == "Picture 2 , a test .\nthe picture 2"


def test_several_folders_other_names_and_images_beside_the_table(folder, tmp_path, image_file):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("train", "dev", "test"):
        (other / f"{name}.png").write_bytes(image_file(100))
        (other / f"zh.{name}.tsv").write_text(f"{name}.png\t一张 图片\n", "utf-8")
    for name in ("train", "valid", "test"):
        (folder / f"zh.{name}.tsv").write_text("1.png\t图\n", "utf-8")
    opened = splits(folder, other, captions="zh")
    assert opened["valid"].targets == ["图", "一张 图片"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1.png\n", r"captions\.train\.tsv, line 1: 2 columns"),
        ("1.png\ta\n1.png\t \n", r"captions\.train\.tsv, line 2: the caption is empty"),
        ("1.png\ta\nx.png\tb\ny.png\tb\n", r"2 captions belong to images .* line 2: x\.png"),
        ("", "is empty"),
    ],
)
def test_errors_of_a_table_name_file_and_line(folder, content, message):
    (folder / "captions.train.tsv").write_text(content)
    with pytest.raises(InputError, match=message):
        splits(folder)


def test_missing_files_are_named(folder, tmp_path):
    (folder / "captions.test.tsv").unlink()
    with pytest.raises(InputError, match=r"has no captions\.test\.tsv"):
        splits(folder)
    with pytest.raises(InputError, match=r"has no captions_zh\.train\.tsv"):
        splits(folder, captions="captions_zh")
    for path in folder.glob("captions.*"):
        path.unlink()
    with pytest.raises(InputError, match=r"neither captions\.train\.tsv nor Flickr8k"):
        splits(folder)
    with pytest.raises(InputError, match="is not a folder"):
        splits(tmp_path / "nothing")
    with pytest.raises(InputError, match="--data-dir is missing"):
        splits()


@pytest.fixture
def flickr8k(folder):
    lines = [f"{i}.png#{k}\tcaption {k} of {i} .\n" for i in range(10) for k in range(2)]
    (folder / "Flickr8k.token.txt").write_text("".join(lines))
    parts = {"train": range(6), "dev": range(6, 8), "test": range(8, 10)}
    for name, numbers in parts.items():
        text = "".join(f"{i}.png\n" for i in numbers)
        (folder / f"Flickr_8k.{name}Images.txt").write_text(text)
    for path in folder.glob("captions.*"):
        path.unlink()
    (folder / "images").rename(folder / "Flicker8k_Dataset")
    return folder


def test_flickr8k_as_it_is_published(flickr8k):
    opened = splits(flickr8k)
    assert opened["valid"].targets == [f"caption 0 of {i} .\ncaption 1 of {i} ." for i in (6, 7)]
    assert [opened["test"].label(i) for i in range(2)] == ["8.png", "9.png"]


def test_flickr8k_with_an_image_without_captions(flickr8k):
    with open(flickr8k / "Flickr_8k.testImages.txt", "a") as file:
        file.write("x.png\n")
    with pytest.raises(InputError, match=r"testImages\.txt has 1 images without captions.*x\.png"):
        splits(flickr8k)


@pytest.fixture
def coco(folder):
    for path in folder.glob("captions.*"):
        path.unlink()
    (folder / "images").rename(folder / "train2017")
    (folder / "val2017").mkdir()
    for i in range(6, 10):
        (folder / "train2017" / f"{i}.png").rename(folder / "val2017" / f"{i}.png")
    for name, numbers in (("train", range(6)), ("val", range(6, 10))):
        content = {
            "images": [{"id": 50 + i, "file_name": f"{i}.png"} for i in numbers],
            "annotations": [
                {"image_id": 50 + i, "caption": f"number {i}\n{k}"}
                for i in numbers
                for k in range(2)
            ],
        }
        (folder / f"captions_{name}2017.json").write_text(json.dumps(content))
    return folder


def test_coco_as_it_is_published(coco):
    opened = splits(coco)
    assert len(opened["train"]) == 6
    assert opened["valid"].targets == [f"number {i} 0\nnumber {i} 1" for i in (6, 7)]
    assert opened["test"].targets == [f"number {i} 0\nnumber {i} 1" for i in (8, 9)]


def test_published_captions_are_not_those_of_another_language(flickr8k):
    with pytest.raises(InputError, match=r"has no captions_zh\.train\.tsv"):
        splits(flickr8k, captions="captions_zh")


def test_an_empty_coco_caption_is_named(coco):
    path = coco / "captions_train2017.json"
    content = json.loads(path.read_text())
    for empty in (" ", None):
        content["annotations"][3]["caption"] = empty
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"a caption of 1\.png is empty"):
            splits(coco)


def test_damaged_coco_files(coco):
    (coco / "val2017" / "9.png").unlink()
    with pytest.raises(InputError, match=r"captions_val2017\.json: the image 9\.png is not in"):
        splits(coco)
    (coco / "captions_train2017.json").write_text('{"images": []}')
    with pytest.raises(
        InputError, match=r"captions_train2017\.json is not a file of COCO captions"
    ):
        splits(coco)
