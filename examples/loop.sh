#!/bin/sh
# The whole walk on this machine's CPU: measure the machine, plan, prove, launch and check, measure the server,
# fit to what was measured, plan anew.
# $1: the folder with shardwright and its python. SHARDWRIGHT_ENGINE_PATH: that with vLLM 0.32 for CPUs and
# tests/launch/engines/vllm_cpu_plugin. $2: where the files go (a temporary folder).
set -e
bin=$1
out=${2:-$(mktemp -d)}
port=${PORT:-18000}

show() {
    printf '\n$ shardwright %s\n\n' "$*"
    "$bin/shardwright" "$@"
}

# vLLM on a CPU: all traffic on this machine, 1 GiB of KV cache a rank, nothing compiled, a thread a rank.
export VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind
export VLLM_CPU_CI_ENV=1 TORCHDYNAMO_DISABLE=1 OMP_NUM_THREADS=1

"$bin/python" -m shardwright.run.tiny served "$out/tiny"
show calibrate --device cpu --dtype fp32 --processes 2 --minutes "${MINUTES:-1}" -o "$out/cpu.json"

# Processes as the GPUs of a node: the device by its profile's name, in fields of its own, for vLLM's rules know
# makers of GPUs alone.
"$bin/python" - "$out" > "$out/deployment.yaml" <<'PYTHON'
import json
import sys

profile = json.load(open(f"{sys.argv[1]}/cpu.json"))
sheet = {name: fact for name, fact in profile["hardware"].items() if name != "vendor"}
cluster = {"gpu": sheet, "scale_up": profile["scale_up"], "nodes": 1, "gpus_per_node": 2}
workload = {"batch": 4, "input_tokens": 64, "output_tokens": 32, "max_model_len": 256}
deployment = {"model": "tiny", "cluster": cluster, "workload": workload, "profile": "cpu.json"}
print(json.dumps({"name": "tiny model on a CPU", **deployment, "engine": "vllm@0.32", "layout": "tp2/ep2"}))
PYTHON

show plan "$out/deployment.yaml" -o "$out/plan"
show prove "$out/plan" --checkpoint "$out/tiny"
show launch "$out/plan" --check --port "$port"

printf '\n$ shardwright launch %s --start &\n\n' "$out/plan"
"$bin/shardwright" launch "$out/plan" --start --port "$port" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" || :' EXIT
until curl --silent --fail --output /dev/null --noproxy '*' "http://127.0.0.1:$port/health"; do
    kill -0 "$server"
    sleep 1
done
for load in 1 2 4 8; do
    show bench "$out/plan" --url "http://127.0.0.1:$port" --concurrency "$load" --rows "$out/rows.csv"
done
kill "$server"
wait "$server" || :
trap - EXIT

show validate "$out/rows.csv" --profile "$out/cpu.json"
show calibrate --from "$out/rows.csv" --profile "$out/cpu.json" -o "$out/serving.json"
show plan "$out/deployment.yaml" --serving "$out/serving.json" --compare "$out/plan" -o "$out/plan-measured"
