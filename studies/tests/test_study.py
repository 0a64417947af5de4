import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmlayers.experiments.records import write_json
from gmlayers_studies import papers
from gmlayers_studies.archive import records_in
from gmlayers_studies.study import Allowance, Epochs, Extent, Profile, epochs, slug


def test_sizes_in_words():
    assert str(Allowance(1400, 10)) == "1,400 parameters, 10 s"
    assert str(Allowance(None, 0.3)) == "its own size, 0.3 s"


def test_extents_are_those_of_the_profile_but_for_some():
    profile = Profile(("task",), epochs(range(2), 3), {"wide": epochs([7], 1)})
    assert profile.of("narrow") == Extent((0, 1), (Epochs(3),))
    assert profile.of("wide") == Extent((7,), (Epochs(1),))


@pytest.mark.parametrize(
    ("text", "kept", "name"),
    [
        ("GM K = 20", ".-", "gm-k-20"),
        ("FC-1000 (mean-field, rate m/200)", ".-", "fc-1000-mean-field-rate-m-200"),
        ("KAN [2,10,1]", ".", "kan-2-10-1"),
        ("β-frozen, 0.5", ".", "β-frozen-0.5"),
    ],
)
def test_names_of_folders(text, kept, name):
    assert slug(text, kept) == name


@given(st.text())
def test_names_of_folders_stay_as_they_are_and_lead_nowhere_else(text):
    name = slug(text, "-")
    assert slug(name, "-") == name
    assert not {"/", "\\", ".", " "} & set(name)


def test_a_data_set_takes_the_place_of_the_profiles(tmp_path):
    study = papers.study("fig2")
    assert {place.split("/")[0] for place in study.runs("smoke")} == {"digits"}
    one = {place: run.training.recipe.epochs for place, run in study.runs("full", "digits").items()}
    assert one == dict.fromkeys(("digits/gm-k-5", "digits/gm-k-10", "digits/gm-k-20"), 200)
    with pytest.raises(ValueError, match="--dataset digits: feynman has no data that others could stand for; omit it"):
        papers.study("feynman").runs("smoke", "digits")


def test_damaged_configurations_are_named_and_those_of_others_are_let_be(tmp_path):
    study = papers.study("fig2")
    for place in ("digits/another-net", "digits/gm-k-5", "fit2d/exponential/kan/100-1s"):
        (tmp_path / place).mkdir(parents=True)
    write_json(tmp_path / "digits" / "another-net" / "config.json", {})
    write_json(tmp_path / "fit2d" / "exponential" / "kan" / "100-1s" / "config.json", {})
    assert study.recorded(records_in(tmp_path)) == {}
    with pytest.raises(ValueError, match=r"fit2d/exponential/kan/100-1s: expected .*; its config.json is damaged"):
        papers.study("fit2d").recorded(records_in(tmp_path))
    write_json(tmp_path / "digits" / "gm-k-5" / "config.json", {"format": 9})
    with pytest.raises(ValueError, match=r"digits/gm-k-5 is not of format"):
        study.recorded(records_in(tmp_path))


def test_runs_are_equal_if_their_configurations_are():
    runs = [study.runs("smoke")["digits/gm-k-20"] for study in map(papers.study, ("fig2", "fig3"))]
    assert runs[0] == runs[1]
    longer = dataclasses.replace(runs[0].training.recipe, epochs=9)
    assert dataclasses.replace(runs[0], training=dataclasses.replace(runs[0].training, recipe=longer)) != runs[0]
