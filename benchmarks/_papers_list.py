"""All claims of the papers, in their order."""

import _papers_alexnet
import _papers_assistants
import _papers_ladder
import _papers_pruning
import _papers_regularizers
import _papers_sinreq
import _papers_vgg
from _papers_claims import Claim

_OURS = "CPU hours at the plan's budget on a faster processor with matrix units for bf16"
LATER = (
    (
        "table2",
        "IPKD-TA",
        "Table II: assistants help every width of slimmable MobileNet-V1",
        f"not run: about 12 {_OURS}; narrow networks for 3 epochs: suite ipkd",
    ),
)


def claims() -> list[Claim]:
    """Return every claim; table II has no trials yet."""
    first = [_papers_ladder.claim(), _papers_assistants.claim(), _papers_regularizers.claim(), _papers_sinreq.claim()]
    later = [Claim(name, paper, text, "", instead=instead) for name, paper, text, instead in LATER]
    return [*first, _papers_alexnet.claim(), _papers_pruning.claim(), _papers_vgg.claim(), *later]
