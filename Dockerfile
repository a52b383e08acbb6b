# syntax=docker/dockerfile:1
# The images of the project, for linux/amd64 and linux/arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --target gateway  -t ghcr.io/mcp-gateway-operator/mcp-gateway:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --target operator -t ghcr.io/mcp-gateway-operator/mcp-operator:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --target demo     -t ghcr.io/mcp-gateway-operator/demo-mcp-server:0.1.0 .
#
# Each has one static program, the authorities that Mozilla trusts, and a temporary directory. Without Docker, `make images`
# makes the same for the machine's own architecture.

ARG RUST_VERSION=1.95

# Compiles on the machine's own architecture for the other one: emulated, it would take an hour.
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-slim-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src
RUN <<'SETUP'
set -eu
case $TARGETARCH in
    amd64) machine=x86_64 packages='gcc-x86-64-linux-gnu libc6-dev-amd64-cross' ;;
    arm64) machine=aarch64 packages='gcc-aarch64-linux-gnu libc6-dev-arm64-cross' ;;
    *) echo "no image is made for $TARGETARCH" >&2; exit 1 ;;
esac
# The image has a compiler for its own architecture.
[ "$TARGETARCH" != "$BUILDARCH" ] || packages=''
apt-get update
apt-get install -y --no-install-recommends ca-certificates $packages
rm -rf /var/lib/apt/lists/*
rustup target add "$machine-unknown-linux-gnu"
echo "$machine-unknown-linux-gnu" >/target
SETUP
RUN cargo install --locked cargo-auditable@0.7.7
ENV CARGO_AUDITABLE=1 \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
COPY . .

FROM build AS build-gateway
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,id=target-$TARGETARCH,target=/src/target,sharing=locked \
    scripts/image-root.sh mcp-gateway /root-directory release "$(cat /target)"

FROM build AS build-operator
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,id=target-$TARGETARCH,target=/src/target,sharing=locked \
    scripts/image-root.sh mcp-operator /root-directory release "$(cat /target)"

FROM build AS build-demo
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,id=target-$TARGETARCH,target=/src/target,sharing=locked \
    scripts/image-root.sh demo-mcp-server /root-directory release "$(cat /target)"

# The user is a number, so that Kubernetes can tell that it is not root.

FROM scratch AS demo
COPY --from=build-demo /root-directory/ /
LABEL org.opencontainers.image.title=demo-mcp-server \
      org.opencontainers.image.description="A small MCP server to try a gateway with" \
      org.opencontainers.image.licenses=Apache-2.0
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/demo-mcp-server"]

FROM scratch AS operator
COPY --from=build-operator /root-directory/ /
LABEL org.opencontainers.image.title=mcp-operator \
      org.opencontainers.image.description="Runs MCP gateways in Kubernetes" \
      org.opencontainers.image.licenses=Apache-2.0
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mcp-operator"]

# The last one is what is built when no target is named.
FROM scratch AS gateway
COPY --from=build-gateway /root-directory/ /
LABEL org.opencontainers.image.title=mcp-gateway \
      org.opencontainers.image.description="One MCP endpoint in front of many MCP servers, and the shim that runs stdio servers in pods" \
      org.opencontainers.image.licenses=Apache-2.0
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mcp-gateway"]
