"""Times the reference: the number of crashes in a batch, then so many JSON lines in; seconds and signatures out.

The first line out is the folder of the lists that the reference uses. Only the making of signatures is timed, in time of
the processor, so that other work on the machine does not count.
"""

import json
import os
import sys
import time

import siggen
from siggen.generator import SignatureGenerator

print(json.dumps(os.path.join(os.path.dirname(siggen.__file__), "siglists")), flush=True)
generator = SignatureGenerator()
for head in sys.stdin:
    crashes = [json.loads(sys.stdin.readline()) for _ in range(int(head))]
    start = time.thread_time()
    made = [generator.generate(crash) for crash in crashes]
    seconds = time.thread_time() - start
    print(json.dumps({"seconds": seconds, "signatures": [one.signature for one in made]}), flush=True)
