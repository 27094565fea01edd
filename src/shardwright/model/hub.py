"""The config.json of a model that is not in the catalog, from the Hugging Face hub.

huggingface_hub does the transfer: its cache, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE hold. Only JSON is
fetched, and nothing of a model is ever run. It is not among the core's dependencies, which need no network:
the extra `hub` brings it, and `run` has it through transformers.
"""

import re
from contextlib import suppress
from pathlib import Path

from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.model.fields import read_json
from shardwright.model.hf import QUANTISATION_FILE, read_config
from shardwright.model.spec import ModelSpec

TIMEOUT_S = 10.0

ID = re.compile(r"[a-z0-9][\w.-]{0,95}/[a-z0-9][\w.-]{0,95}", re.ASCII | re.IGNORECASE)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id, OWNER/NAME."""
    return ID.fullmatch(name) is not None and ".." not in name


def fetch_model(name: str, *, otherwise: str) -> ModelSpec:
    """The model of a hub id, by the config.json of its main branch.

    otherwise: what the name may mean instead, for the messages. Raises InputError when the hub has no such
    model, does not show it to this user, or its config.json cannot be read; EnvironmentLacksError without
    huggingface_hub, or without a network where the file is not in the cache.
    """
    config = _download(name, "config.json", otherwise)
    if "quantization_config" not in read_json(config, in_folder=config.name).values:
        # Most models have none; where there is one, it is found beside config.json.
        with suppress(InputError, EnvironmentLacksError):
            _download(name, QUANTISATION_FILE, otherwise)
    source = f"https://huggingface.co/{name}/blob/main/config.json"
    return read_config(config, name=name).model_copy(update={"source": source})


def _download(name: str, file: str, otherwise: str) -> Path:
    """The file in the cache, which is brought up to date where there is a network."""
    try:
        import huggingface_hub as hub  # noqa: PLC0415 - an extra, and half a second
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError as error:
        lacks = f"{name} is not in the catalog, and huggingface_hub is not there to look it up on the hub"
        raise EnvironmentLacksError(f"{lacks}: pip install 'shardwright[hub]', or {otherwise}") from error
    try:
        # A look without the retries of a download: where there is no network, it says so at once.
        hub.get_hf_file_metadata(hub.hf_hub_url(name, file), timeout=TIMEOUT_S)
    except errors.GatedRepoError as error:
        allowed = "a model that the hub shows to you: accept its licence there and set HF_TOKEN"
        raise InputError("model", name, allowed) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError("model", name, f"a model of the hub that this user sees, or {otherwise}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise InputError("model", name, f"a model of the hub with {file}") from error
    except errors.HFValidationError as error:
        raise InputError("model", name, f"a hub id OWNER/NAME, or {otherwise}") from error
    except Exception as error:  # a network fails in many ways, and the cache may do without it
        return _from_cache(name, file, otherwise, " ".join(str(error).split()))
    try:
        return Path(hub.hf_hub_download(name, file, etag_timeout=TIMEOUT_S))
    except Exception as error:  # between the look and the file, or on a full disk
        return _from_cache(name, file, otherwise, " ".join(str(error).split()))


def _from_cache(name: str, file: str, otherwise: str, reason: str) -> Path:
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415

    try:
        return Path(hf_hub_download(name, file, local_files_only=True))
    except errors.LocalEntryNotFoundError as error:
        lacks = f"{name} is not in the catalog, and the hub cannot be asked ({reason[:120]})"
        raise EnvironmentLacksError(f"{lacks}: get its {file} and name its folder, or {otherwise}") from error
