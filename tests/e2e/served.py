"""A server under test, and what tests of it need."""

import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import urllib.request

from command_line import LAMINA

HOME = pathlib.Path(os.environ.get("LAMINA_HOME", pathlib.Path.home() / ".cache" / "lamina"))
CHAT, EMBEDDER = "smollm2-135m", "minilm-l6"
KEY = "a-secret-of-this-test"


def need(packages=(), models=(), files=()):
    """Ends the test with its reason, counted as not run, where something is missing that `./dev test` installs."""
    lacking = [f"the package {name}" for name in packages if importlib.util.find_spec(name) is None]
    lacking += [f"the model {name}" for name in models if not (HOME / "models" / name).is_dir()]
    lacking += [name for name in files if not pathlib.Path(name).exists()]
    if lacking:
        print(f"not run without {', '.join(lacking)}; ./dev test installs what is missing")
        sys.exit(77)


class Server:
    """`lamina serve` on a free port. `key` None: it asks for none."""

    def __init__(self, *arguments, key=KEY):
        self.key = key
        command = [str(LAMINA), "serve", *arguments, "--port", "0", "--json", "--log", "json"]
        if key is not None:
            command += ["--api-key", key]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.communicate()[1])
        self.start = json.loads(line)
        self.address = self.start["address"]
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def end(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        status = self.process.wait(120)
        self.reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def close(self):
        """Ends it in any case, without asking how."""
        if self.process.poll() is None:
            self.process.kill()
        if not self.process.stdout.closed:
            self.wait()

    def get(self, path):
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(self.address + path, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        return {name: float(value) for name, value in re.findall(r"(?m)^([^#\s]\S*) (\S+)$", self.get("/metrics"))}
