# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
# Dependencies first: a change of src/ does not build them again. Tests and benches stay outside, so
# the manifest must not name them.
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY xtask/Cargo.toml xtask/
RUN mkdir xtask/src && echo 'fn main() {}' > xtask/src/main.rs
RUN sed -i '/^\[\[\(test\|bench\|example\)\]\]/,/^$/d' Cargo.toml \
 && mkdir src \
 && echo 'fn main() {}' > src/main.rs \
 && echo '' > src/lib.rs \
 && cargo build --release --locked --bin breakerbox \
 && rm -rf src target/release/breakerbox target/release/deps/*breakerbox* target/release/.fingerprint/breakerbox-*
# What is built into the program beside its source.
COPY migrations migrations
COPY alerts/runbook.md alerts/
COPY alerts/optional/seeds.ko.yml alerts/optional/
COPY docs/openapi.json docs/
COPY src src
RUN cargo build --release --locked --bin breakerbox

FROM gcr.io/distroless/cc-debian12:nonroot@sha256:e2d29aec8061843706b7e484c444f78fafb05bfe47745505252b1769a05d14f1
COPY --from=build /src/target/release/breakerbox /breakerbox
EXPOSE 8080 8090
# Threads share two heaps, so that what a flood took is given back.
ENV MALLOC_ARENA_MAX=2
ENTRYPOINT ["/breakerbox"]
