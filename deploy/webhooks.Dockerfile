# The image of podgate-webhooks, the webhook server that reads its users from a file. Build it in the root directory of the
# repository:
# docker build -f deploy/webhooks.Dockerfile -t podgate-webhooks .
# Mount users.yaml, tls.crt and tls.key at /etc/podgate.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --locked --release --package podgate-webhooks --bin podgate-webhooks

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/podgate-webhooks /usr/local/bin/podgate-webhooks
# A numeric user, so that Kubernetes can verify that it is not root.
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["/usr/local/bin/podgate-webhooks"]
CMD ["--config", "/etc/podgate/users.yaml", "--listen", "https://0.0.0.0:8443", "--cert", "/etc/podgate/tls.crt", "--key", "/etc/podgate/tls.key"]
