"""A container image in a file of the OCI format: reading it, unpacking it, and running it in a chroot."""

import hashlib
import json
import socket
import subprocess
import tarfile
import threading

from programs import Program

# What an engine puts into each container beside the files of the image.
MOUNT_POINTS = ["proc", "dev"]
FILES = {"/etc/hosts": "", "/etc/resolv.conf": "nameserver 127.0.0.1\n"}


class Image:
    """The image in an archive. The archive has one image for one architecture."""

    def __init__(self, archive):
        self.archive = tarfile.open(archive)
        [self.entry] = json.load(self.archive.extractfile("index.json"))["manifests"]
        self.manifest = json.loads(self.blob(self.entry["digest"]))
        self.settings = json.loads(self.blob(self.manifest["config"]["digest"]))
        self.config = self.settings["config"]
        self.name = self.entry["annotations"]["org.opencontainers.image.ref.name"]

    def blob(self, digest):
        content = self.archive.extractfile(f"blobs/{digest.replace(':', '/')}").read()
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise ValueError(f"{digest} has another content")
        return content

    def layers(self):
        """The layers, opened one after the other."""
        for layer in self.manifest["layers"]:
            content = self.archive.extractfile(f"blobs/{layer['digest'].replace(':', '/')}")
            with tarfile.open(fileobj=content) as opened:
                yield opened

    def members(self):
        """Every file and folder of the image by its path."""
        return {f"/{member.name.strip('/')}": member for layer in self.layers() for member in layer}

    def unpack(self, root):
        """Writes the files to a folder, with the mount points that an engine adds."""
        root.mkdir()
        for layer in self.layers():
            # Owners and modes as they are, in every version of Python.
            layer.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            layer.extractall(root, numeric_owner=True)
        for name in MOUNT_POINTS:
            (root / name).mkdir()
        for path in FILES:
            (root / path.lstrip("/")).touch()


class NameServer:
    """A name server on 127.0.0.1 for which every name has the address 127.0.0.1."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.asked = set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            labels, at = [], 12
            while length := query[at]:
                labels.append(query[at + 1 : at + 1 + length].decode())
                at += 1 + length
            question = query[12 : at + 5]
            self.asked.add(".".join(labels))
            # An address of version 4, or no answer.
            has_answer = question[-4:] == b"\0\1\0\1"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if has_answer else b""
            header = query[:2] + b"\x81\x80\0\1\0" + bytes([has_answer]) + b"\0\0\0\0"
            self.socket.sendto(header + question + answer, client)


class Runtime:
    """Runs commands of an unpacked image as an engine does that starts it with `--read-only --user USER:GROUP`.

    `volume` is mounted at the path of the volume, `mounts` are folders by their path inside. The mounts exist only in
    a mount namespace of the command.
    """

    def __init__(self, image, root, volume, user, mounts=()):
        self.image, self.root, self.user = image, root, user
        [path] = image.config["Volumes"]
        self.mounts = {path: volume, **dict(mounts)}

    def command(self, *arguments):
        """The command line of the entry point with arguments, those of the image by default."""
        root, config = self.root, self.image.config
        steps = [f"mount --bind {root} {root}", f"mount --rbind /dev {root}/dev", f"mount --rbind /proc {root}/proc"]
        for number, (path, text) in enumerate(FILES.items()):
            file = root.parent / f"mounted-{number}"
            file.write_text(text)
            steps += [f"mount --bind {file} {root}{path}"]
        # The mounts below stay writable; the root does not.
        steps += [f"mount -o remount,bind,ro {root}"]
        steps += [f"mount --bind {folder} {root}{path}" for path, folder in self.mounts.items()]
        group = self.user.split(":")[1]
        steps += [f'exec env --ignore-environment "${{@:2:$1}}" chroot --userspec={self.user} --groups={group} {root} "${{@:$1+2}}"']
        environment = config["Env"]
        inside = [*config["Entrypoint"], *(arguments or config["Cmd"])]
        script = "\n".join(["set -e", *steps])
        unshare = ["unshare", "--mount", "--propagation=private", "bash", "-c", script, "bash"]
        return [*unshare, str(len(environment)), *environment, *inside]

    def run(self, *arguments):
        """Runs a command to its end. Returns its exit code and its output."""
        command = self.command(*arguments)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def start(self, folder, name, *arguments):
        return Program(folder, name, *self.command(*arguments))
