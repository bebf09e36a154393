"""Every tunable of abaw, once, with the reason for its value. Standard library only.

The command line reads its defaults here and the library uses the same objects, so that the
two never differ. "Published" refers to arXiv 2603.12221. Modules import from this package, which
has the names of all of its modules.
"""

# ruff: noqa: F403  (a list of all names would be a second place for each of them)
from abawcli.config.face_training import *
from abawcli.config.faces import *
from abawcli.config.head_training import *
from abawcli.config.media import *
from abawcli.config.models import *
from abawcli.config.results import *
from abawcli.config.running import *
from abawcli.config.smoothing import *
from abawcli.config.views import *
from abawcli.config.voice_training import *
