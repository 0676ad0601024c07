from pathlib import Path

from study.results import Results


def test_what_was_found_is_not_searched_for_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    first = Results(path, {"seed": 0, "rates": (1, 2)})
    assert (first.find("a", lambda: 1), first.find("a", lambda: 2), first.resumed) == (1, 1, False)
    second = Results(path, {"seed": 0, "rates": (1, 2)})
    assert (second.find("a", lambda: 3), second.find("b", lambda: [4]), second.resumed) == (1, [4], True)


def test_findings_of_another_experiment_are_dropped(tmp_path: Path) -> None:
    Results(tmp_path / "results.json", {"seed": 0}).find("a", lambda: 1)
    other = Results(tmp_path / "results.json", {"seed": 1})
    assert (other.found, other.resumed) == ({}, False)


def test_a_copy_is_the_same_file(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", {"seed": 0})
    results.find("a", lambda: 1)
    assert results.copy(tmp_path / "copy.json").read_bytes() == results.path.read_bytes()
