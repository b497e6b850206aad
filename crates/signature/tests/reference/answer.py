"""Makes the reference's signatures: crash data as JSON lines in, signatures as JSON lines out.

The first line out is the folder of the lists that the reference uses.
"""

import json
import os
import sys

import siggen
from siggen.generator import SignatureGenerator

print(json.dumps(os.path.join(os.path.dirname(siggen.__file__), "siglists")))
generator = SignatureGenerator()
for line in sys.stdin:
    made = generator.generate(json.loads(line))
    answer = {
        "signature": made.signature,
        "proto_signature": made.extra.get("proto_signature", ""),
        "notes": made.notes,
    }
    print(json.dumps(answer))
