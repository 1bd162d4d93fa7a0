# An image for guests, to begin your own with. From the repository's root:
# docker build -f deploy/guest.Dockerfile -t ghcr.io/example/guest:1 deploy
# docs/kubernetes.md says what a guest image needs, and what happens without it.

# It has /bin/sh, bash and the usual small programs.
FROM debian:bookworm-slim
# sftp-server serves sftp, sshfs and today's scp; scp serves `scp -O`, and rsync itself.
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-client openssh-sftp-server rsync \
 && rm -rf /var/lib/apt/lists/*
# The line in /etc/passwd for the user id of the pod (runAsUser), with a home that this user can write.
RUN groupadd --gid 1000 user \
 && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash user
# By number, so that Kubernetes can tell that it is not root.
USER 1000:1000
# Programs start here.
WORKDIR /home/user
