"""Hostile text comes out of YAML and of Kubernetes' expansion as it went in, and names stay names."""

import re
from itertools import product

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.names import dns_label, label_value
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.text import dumped, literal
from shardwright.launch.launch import LaunchFile
from tests.launch.kubernetes.launches import make_launch, small_plan
from tests.launch.kubernetes.reader import expanded, manifests, of_kind, pods
from tests.launch.kubernetes.schemas import check

HOSTILE = (
    "a'b\"c d",
    "$(rm -rf /)",
    "$$(X)",
    "$(LWS_WORKER_INDEX)",
    "$(HOME)/$HOME/${HOME}/`id`",
    "line\nbreak: yes\n- item",
    "key: value # no comment",
    "{{ .Values.secret }}",
    "--- !!python/object/apply:os.system ['id']",
    "*alias &anchor !tag % @",
    "1e3",
    "0x10",
    "0o17",
    "1:30",
    "yes",
    "null",
    "~",
    "",
    " ",
    "\ttab ",
    "$é 日本 😀",
    "\x07\x1b[31m\r\n\x85\u2028",
    "x" * 500,
)
VISIBLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("nodes", [1, 2])
def test_hostile_text_comes_back(text: str, nodes: int) -> None:
    launch = make_launch("sglang", name=text, model=text, nodes=nodes, environment={"A": text}, layout=text)
    plan = small_plan()
    model = plan.deployment.model.model_copy(update={"name": text})
    plan = plan.model_copy(update={"deployment": plan.deployment.model_copy(update={"model": model})})
    files = kubernetes_files(launch, plan, KubernetesOptions(environment={"B": text})).files
    for manifest in manifests(files):
        check(manifest)
        assert manifest["metadata"]["annotations"]["shardwright/model"] == text
        assert manifest["metadata"]["annotations"]["shardwright/layout"] == text
    for pod in pods(files):
        assert pod.argv[4] == text
        assert pod.environment["A"] == pod.environment["B"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_files_come_back(text: str) -> None:
    file = LaunchFile(path="trtllm/config.yaml", text=f"{text}\n  {text}\n\n")
    files = kubernetes_files(make_launch("trtllm", files=(file,)), small_plan(), KubernetesOptions()).files
    (config,) = of_kind(files, "ConfigMap")
    assert list(config["data"].values()) == [file.text]


def test_every_short_text_of_dollars_and_brackets_comes_back() -> None:
    """All 3,905 strings of up to five of them, X being a variable."""
    for length in range(6):
        for letters in product("$()X é"[:5], repeat=length):
            text = "".join(letters)
            assert expanded(literal(text, "text"), {"X": "put in"}) == text


@given(VISIBLE, VISIBLE)
def test_any_text_is_read_back_from_yaml_and_is_a_string_to_every_reader(key: str, value: str) -> None:
    text = dumped({"key": {key: [value, {"a": value}]}})
    assert yaml.safe_load(text) == {"key": {key: [value, {"a": value}]}}
    for line in text.splitlines():
        word = re.fullmatch(r"\s*(?:- )?a: ([^\"|].*)", line)
        assert word is None or re.fullmatch(r"[A-Za-z][A-Za-z0-9./-]*", word[1]), "else it stands in quotes"


@pytest.mark.parametrize(
    "word",
    ["1e3", "0o17", "0x1F", "1:30", "12", "1.5", "y", "N", "yes", "Off", "NULL", "true", "2026-01-01", "-"],
)
def test_words_that_readers_disagree_on_stand_in_quotes(word: str) -> None:
    """YAML 1.1 and 1.2 differ on them, and so do readers of one version (PyYAML: 1e3 is text; Go: 1000)."""
    assert dumped({"a": word}) == f'a: "{word}"\n'


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_process_can_be_given_is_refused(text: str) -> None:
    for launch in (make_launch("vllm", model=text), make_launch("vllm", environment={"A": text})):
        with pytest.raises(InputError, match="without NUL"):
            kubernetes_files(launch, small_plan(), KubernetesOptions())


DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@given(st.text(max_size=200))
def test_names_are_dns_labels_with_room_for_what_is_put_behind(text: str) -> None:
    name = dns_label(text)
    assert DNS_LABEL.fullmatch(name) and len(name) <= 40
    assert LABEL_VALUE.fullmatch(label_value(text))


def test_names_that_are_cut_or_left_empty_differ() -> None:
    assert dns_label("Qwen/Qwen3-30B-A3B") == "qwen-qwen3-30b-a3b"
    assert dns_label("70b") == "m-70b"
    assert len(dns_label("x" * 41)) == 40
    long = ["x" * 41, "x" * 60, "x" * 61, "日本", "中国", "", "---"]
    assert len({dns_label(text) for text in long}) == len(long)


def test_the_same_launch_makes_the_same_files() -> None:
    def once(order: int) -> tuple[LaunchFile, ...]:
        environment = dict(
            sorted({"B": "1", "A": "2", "C": "3"}.items(), key=lambda item: order * ord(item[0]))
        )
        launch = make_launch("vllm", nodes=2, environment=environment)
        return kubernetes_files(launch, small_plan(), KubernetesOptions()).files

    assert once(1) == once(-1)
