"""Container images by engine and vendor of the GPUs.

Tags are named by each publisher's rule; no registry is asked whether the tag of a version is there.
"""

import re

from shardwright.errors import InputError
from shardwright.record import Record


class ImageRow(Record):
    """image: with {version} in the place of the engine's version."""

    engine: str
    vendor: str
    image: str
    source: str


IMAGES = (
    ImageRow(
        engine="vllm",
        vendor="NVIDIA",
        image="vllm/vllm-openai:v{version}",
        source="docs.vllm.ai, stable, deployment/docker: FROM vllm/vllm-openai:v0.11.0",
    ),
    ImageRow(
        engine="vllm",
        vendor="AMD",
        image="vllm/vllm-openai-rocm:v{version}",
        source="tags as used in public: v0.17.0 to v0.31.0, as LMCache's release v0.5.3rc3-rocm has it",
    ),
    ImageRow(
        engine="sglang",
        vendor="NVIDIA",
        image="lmsysorg/sglang:v{version}",
        source="kubernetes-sigs/lws, docs/examples/sglang; tags as of sgl-project/sglang pull 31454",
    ),
    ImageRow(
        engine="trtllm",
        vendor="NVIDIA",
        image="nvcr.io/nvidia/tensorrt-llm/release:{version}",
        source="nvidia.github.io/TensorRT-LLM, installation/containers: x.y.z is the version",
    ),
)


def image_for(engine: str, version: str, vendor: str, stated: str | None) -> str:
    """The image to run: the one that was stated, else the engine's own.

    Raises InputError where there is none to name: SGLang's tags for AMD name a release of ROCm and a GPU,
    TensorRT-LLM is for NVIDIA, and our runtime is in no registry.
    """
    if stated is not None:
        return stated
    name = re.split("[@-]", engine)[0]
    for row in IMAGES:
        if (row.engine, row.vendor) == (name, vendor):
            # Releases have three numbers (1.2.0), whatever a version is called for short.
            parts = version.split(".")
            return row.image.format(version=".".join([*parts, "0"]) if len(parts) == 2 else version)
    raise InputError(
        "pods.image",
        None,
        f"an image with {engine} {version} for {vendor} GPUs, in --pods FILE: none is known",
    )
