# docker build -t millstream .
# docker run -v "$PWD/pipelines:/pipelines:ro" -v millstream:/data millstream
# docker run --rm --no-healthcheck -v "$PWD/pipelines:/pipelines:ro" millstream run first.yaml
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin millstream \
    && install -D -s target/release/millstream /out/millstream

FROM debian:bookworm-slim
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin millstream \
    && mkdir /pipelines /data \
    && chown millstream:millstream /pipelines /data
COPY --from=build /out/millstream /usr/local/bin/millstream
COPY --from=build /src/LICENSE /usr/share/doc/millstream/LICENSE
USER millstream
# The API listens inside the container alone; to reach it from elsewhere, give `serve` TLS and
# `MILLSTREAM_LISTEN=0.0.0.0:7070`, by which the health check finds it, too.
ENV MILLSTREAM_DATA=/data MILLSTREAM_PIPELINES=/pipelines
VOLUME /data
WORKDIR /pipelines
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["millstream", "health"]
ENTRYPOINT ["millstream"]
CMD ["serve"]
