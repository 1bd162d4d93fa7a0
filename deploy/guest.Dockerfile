# An image for guests, as a start for your own. Build it in the root directory of the repository:
# docker build -f deploy/guest.Dockerfile -t ghcr.io/example/guest:1 deploy
# docs/kubernetes.md lists the requirements for guest images, and what happens without each of them.

# Contains /bin/sh, bash and coreutils.
FROM debian:bookworm-slim
# sftp-server is for sftp, sshfs and scp, scp is for `scp -O`, and rsync is for rsync.
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-client openssh-sftp-server rsync \
 && rm -rf /var/lib/apt/lists/*
# The line in /etc/passwd for the user id of the pod (runAsUser), with a home that this user can write.
RUN groupadd --gid 1000 user \
 && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash user
# A numeric user, so that Kubernetes can verify that it is not root.
USER 1000:1000
# Programs start here.
WORKDIR /home/user
