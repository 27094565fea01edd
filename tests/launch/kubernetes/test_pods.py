"""What a pod is given: probes, volumes, secrets, time to start and to stop, a Service that finds it."""

import math

import pytest

from shardwright.launch.kubernetes.manifests import KubernetesFiles, kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.launch import LaunchFile
from tests.launch.kubernetes.launches import make_launch, make_plan, small_plan
from tests.launch.kubernetes.reader import Manifest, of_kind, pods


def made(engine: str = "vllm", nodes: int = 1, copies: int = 1, **options: object) -> KubernetesFiles:
    launch = make_launch(engine, nodes=nodes, copies=copies)
    return kubernetes_files(launch, small_plan(), KubernetesOptions.model_validate(options))


def container(template: Manifest) -> Manifest:
    return template["spec"]["containers"][0]


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_the_service_finds_one_pod_a_copy_the_one_with_the_api(nodes: int) -> None:
    files = made(nodes=nodes, copies=3, service_port=80).files
    (service,) = of_kind(files, "Service")
    selector = service["spec"]["selector"].items()
    found = [pod for pod in pods(files) if selector <= pod.labels.items()]
    assert len(found) == 3
    assert all("--port" in pod.argv and "--headless" not in pod.argv for pod in found)
    (port,) = service["spec"]["ports"]
    (listening,) = container(found[0].template)["ports"]
    assert (port["port"], port["targetPort"], listening["containerPort"]) == (80, listening["name"], 8000)
    workload = of_kind(files, "Deployment" if nodes == 1 else "LeaderWorkerSet")[0]
    assert service["metadata"]["name"] != workload["metadata"]["name"], "an LWS makes a Service of its name"


def test_a_deployment_selects_its_own_pods() -> None:
    files = made().files
    (deployment,) = of_kind(files, "Deployment")
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pods(files)[0].labels.items()


def test_probes_ask_the_health_path_of_the_pod_with_the_api_alone() -> None:
    leader, worker = pods(made(nodes=2).files)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(leader.template)[probe]["httpGet"] == {"path": "/health", "port": "http"}
        assert probe not in container(worker.template)


def test_a_large_model_has_the_time_to_be_read() -> None:
    plan = make_plan("deepseek-ai/DeepSeek-V3", "dp16/ep16", nodes=2)
    options = KubernetesOptions(read_bytes_per_s=1e9, start_s=300)
    files = kubernetes_files(make_launch("vllm", nodes=2), plan, options)
    probe = container(pods(files.files)[0].template)["startupProbe"]
    allowed_s = probe["periodSeconds"] * probe["failureThreshold"]
    published_bytes = 685e9  # the checkpoint on the hub with its predictor of tokens, which is not loaded
    assert 300 + 0.9 * published_bytes / 1e9 < allowed_s < 300 + published_bytes / 1e9 + 10
    assert any(f"{options.read_bytes_per_s / 1e6:g} MB/s" in note for note in files.notes)


def test_a_pod_serves_until_the_longest_request_is_done_and_is_killed_later() -> None:
    plan = small_plan()
    ttft = plan.pools[0].figures.ttft_s.model_copy(update={"value": 7.0, "low": 6.0, "high": 9.0})
    figures = plan.pools[0].figures.model_copy(update={"ttft_s": ttft})
    plan = plan.model_copy(update={"pools": (plan.pools[0].model_copy(update={"figures": figures}),)})
    request_s = 9 + 50 * 0.008 * 1.5  # the plan's TTFT and 50 tokens, at the upper ends
    for pod in pods(kubernetes_files(make_launch("vllm", nodes=2), plan, KubernetesOptions()).files):
        sleep, seconds = container(pod.template)["lifecycle"]["preStop"]["exec"]["command"]
        assert (sleep, int(seconds)) == ("sleep", 10 + math.ceil(request_s))
        assert pod.template["spec"]["terminationGracePeriodSeconds"] == int(seconds) + 30


def test_a_predicted_request_of_hours_does_not_hold_a_node_up() -> None:
    plan = small_plan()
    workload = plan.deployment.workload.model_copy(update={"output_tokens": 10**6})
    slow = plan.model_copy(update={"deployment": plan.deployment.model_copy(update={"workload": workload})})
    (pod,) = pods(kubernetes_files(make_launch("vllm"), slow, KubernetesOptions()).files)
    assert pod.template["spec"]["terminationGracePeriodSeconds"] == 10 + 600 + 30


def test_volumes_are_mounted_where_they_are_needed() -> None:
    for options, volume in (
        ({}, {"persistentVolumeClaim": {"claimName": "example-models"}}),
        ({"claim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        (
            {"cache": "host"},
            {"hostPath": {"path": "/var/lib/shardwright/models", "type": "DirectoryOrCreate"}},
        ),
        ({"cache": "empty"}, {"emptyDir": {}}),
    ):
        files = made(**options).files
        (pod,) = pods(files)
        volumes = {entry.pop("name"): entry for entry in pod.template["spec"]["volumes"]}
        mounts = {entry["name"]: entry["mountPath"] for entry in container(pod.template)["volumeMounts"]}
        assert mounts == {"shared-memory": "/dev/shm", "models": "/models"}
        assert volumes["models"] == volume
        assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
        assert pod.environment["HF_HOME"] == "/models"
        assert len(of_kind(files, "PersistentVolumeClaim")) == (options == {})


def test_a_written_claim_is_shared_where_pods_are_several_and_holds_the_model() -> None:
    plan = make_plan("Qwen/Qwen3-30B-A3B", "dp8/ep8", nodes=1)
    for copies, mode in ((1, "ReadWriteOnce"), (2, "ReadWriteMany")):
        launch = make_launch("vllm", copies=copies)
        (claim,) = of_kind(kubernetes_files(launch, plan, KubernetesOptions()).files, "PersistentVolumeClaim")
        assert claim["spec"]["accessModes"] == [mode]
        size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30
        assert 61e9 < size < 2 * 61e9, "30.5 billion parameters in bf16"


def test_the_token_comes_from_a_secret_by_name() -> None:
    (pod,) = pods(made(token_secret="hub").files)
    (entry,) = [entry for entry in container(pod.template)["env"] if entry["name"] == "HF_TOKEN"]
    assert entry == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}


def test_files_that_arguments_name_are_mounted_where_the_arguments_look() -> None:
    texts = {"trtllm/config.yaml": "a: 1\nb: |\n  two\n\n", "start.sh": "#!/bin/sh\n"}
    files = tuple(LaunchFile(path=path, text=text) for path, text in texts.items())

    def result(text: str) -> KubernetesFiles:
        changed = (files[0].model_copy(update={"text": text}), files[1])
        return kubernetes_files(make_launch("trtllm", files=changed), small_plan(), KubernetesOptions())

    before = result(texts["trtllm/config.yaml"])
    (config,) = of_kind(before.files, "ConfigMap")
    (pod,) = pods(before.files)
    assert config["data"] == {"trtllm-config.yaml": texts["trtllm/config.yaml"]}, (
        "and no script of the launch"
    )
    mount = next(entry for entry in container(pod.template)["volumeMounts"] if entry["name"] == "config")
    assert pod.argv[pod.argv.index("--config") + 1] == f"{mount['mountPath']}/trtllm-config.yaml"
    (after,) = pods(result("a: 2\n").files)
    assert after.template["metadata"] != pod.template["metadata"], "a change makes new pods"


def test_a_run_that_ends_is_a_job_with_the_plan_in_it() -> None:
    files = made("torchrun", nodes=2, copies=2, image="mine:1").files
    jobs, services = of_kind(files, "Job"), of_kind(files, "Service")
    (config,) = of_kind(files, "ConfigMap")
    assert config["data"]["plan.json"] == small_plan().model_dump_json(indent=2) + "\n"
    for job, service in zip(jobs, services, strict=True):
        template = job["spec"]["template"]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert template["spec"]["subdomain"] == service["metadata"]["name"] == job["metadata"]["name"]
        assert "lifecycle" not in container(template)
    assert services[0]["spec"]["selector"] != services[1]["spec"]["selector"]
    assert not of_kind(made("torchrun", image="mine:1").files, "Service")


def test_services_of_the_namespace_cannot_set_an_engines_variables() -> None:
    """A Service called vllm would set VLLM_PORT in every pod."""
    (pod,) = pods(made(name="vllm").files)
    assert pod.template["spec"]["enableServiceLinks"] is False


def test_notes_say_what_the_manifests_rest_on() -> None:
    notes = " ".join(made(nodes=2).notes)
    for said in ("0.0.0.0", "NetworkPolicy", "leaderworkerset.x-k8s.io/v1", "RDMA", "node_selector", "901 s"):
        assert said in notes
    assert "RDMA" not in " ".join(made(nodes=2, resources={"rdma/ib": "1"}).notes)
    assert "RDMA" not in " ".join(made(nodes=1).notes)
