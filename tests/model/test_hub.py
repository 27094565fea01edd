"""A model that is not in the catalog, from a hub that stands in for the real one."""

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.model.catalog import catalog_entries, find_model
from shardwright.model.hub import fetch_model, is_hub_id

LLAMA = catalog_entries()["meta-llama/Llama-3.1-8B"]["config"]


class Hub:
    """Files of one repository; `asked` is every request that reached it."""

    def __init__(self, folder: Path, failure: Exception | None = None, cached: bool = False) -> None:
        self.folder, self.failure, self.cached = folder, failure, cached
        self.asked: list[tuple[str, str]] = []

    def get_hf_file_metadata(self, url: str, *, timeout: float) -> None:
        assert 0 < timeout <= 30
        file = url.rpartition("/")[2]
        self.asked.append(("look", file))
        if self.failure is not None:
            raise self.failure
        if not (self.folder / file).exists():
            raise refusal(errors.RemoteEntryNotFoundError)

    def hf_hub_download(self, name: str, file: str, **options: Any) -> str:
        self.asked.append(("cache" if options.get("local_files_only") else "download", file))
        if options.get("local_files_only") and not (self.cached and (self.folder / file).exists()):
            raise errors.LocalEntryNotFoundError("not in the cache")
        return str(self.folder / file)


def refusal(kind: type[Exception]) -> Exception:
    """An error of the hub, whose constructor wants a response."""
    error = kind.__new__(kind)
    Exception.__init__(error, "refused")
    return error


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(tmp_path)
    for name in ("get_hf_file_metadata", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, getattr(stand_in, name))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    return stand_in


def test_a_hub_id_is_downloaded(hub: Hub) -> None:
    spec = find_model("someone/Other-8B", look_up=True)
    assert (spec.name, spec.num_layers) == ("someone/Other-8B", 32)
    assert spec.source == "https://huggingface.co/someone/Other-8B/blob/main/config.json"
    assert hub.asked == [
        ("look", "config.json"),
        ("download", "config.json"),
        ("look", "hf_quant_config.json"),
    ]


def test_quantisation_beside_config_json_is_read(hub: Hub) -> None:
    stated = {
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    }
    (hub.folder / "hf_quant_config.json").write_text(json.dumps(stated))
    spec = fetch_model("someone/Other-8B-FP8", otherwise="")
    assert (spec.weight_dtype, spec.kv_dtype) == ("fp8", "fp8")


def test_the_catalog_comes_before_the_hub(hub: Hub) -> None:
    assert find_model("Qwen/Qwen3-30B-A3B", look_up=True) == find_model("qwen3-30b-a3b")
    with pytest.raises(InputError, match="meant"):
        find_model("Qwen3-30B-A3", look_up=True)
    with pytest.raises(InputError, match="meant"):
        find_model("someone/Qwen3-30B-A3B-FP")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (errors.GatedRepoError, "accept its licence there and set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "a model of the hub that this user sees, or .* is meta-llama"),
        (errors.RemoteEntryNotFoundError, r"a model of the hub with config\.json"),
    ],
)
def test_what_the_hub_refuses_is_bad_input(hub: Hub, kind: type[Exception], says: str) -> None:
    hub.failure = refusal(kind)
    with pytest.raises(InputError, match=says) as caught:
        find_model("meta-llama/Llama-3.3-70B", look_up=True)
    assert (caught.value.field, caught.value.exit_code) == ("model", 2)


@pytest.mark.parametrize("failure", [OSError("no route"), errors.OfflineModeIsEnabled("offline")])
def test_without_a_network_the_cache_does_or_the_environment_lacks(hub: Hub, failure: Exception) -> None:
    hub.failure = failure
    with pytest.raises(
        EnvironmentLacksError, match="not in the catalog, and the hub cannot be asked"
    ) as caught:
        find_model("someone/Other-8B", look_up=True)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert ("download", "config.json") not in hub.asked
    hub.cached = True
    assert find_model("someone/Other-8B", look_up=True).hidden == 4096


def test_without_huggingface_hub_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EnvironmentLacksError, match=r"pip install 'shardwright\[hub\]'"):
        find_model("someone/Other-8B", look_up=True)


def test_a_config_of_the_hub_that_is_not_modelled_is_refused(hub: Hub) -> None:
    (hub.folder / "config.json").write_text(
        json.dumps({"model_type": "qwen3_next", "auto_map": {"x": "y.Z"}})
    )
    with pytest.raises(InputError, match="linear attention, which is not modelled"):
        find_model("someone/Next", look_up=True)


@pytest.mark.parametrize("name", ["foo/bar--baz", "foo/bar-", "foo/bar.git"])
def test_a_name_that_the_hub_refuses_is_one_message(name: str) -> None:
    with pytest.raises(InputError, match="a hub id OWNER/NAME"):
        find_model(name, look_up=True)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("Qwen/Qwen3-8B", True),
        ("a/b", True),
        ("gpt2", False),
        ("../etc", False),
        ("a/../b", False),
        ("a/..b", False),
        ("a/b/c", False),
        ("-a/b", False),
        ("a/b c", False),
        ("é/b", False),
        ("http://x/y", False),
        ("a/" + "b" * 97, False),
    ],
)
def test_the_form_of_a_hub_id(name: str, is_one: bool) -> None:
    assert is_hub_id(name) == is_one
