"""Published methods, each a few lines over shared parts.

Every recipe gives a `Method`: a score to rank with and a loss to learn with. Notation: x_n is the feature of region n,
y_m of sentence m, hats are l2-normalised, s_nm = <x^_n, y^_m>; N regions, M sentences.
"""

from bagclip.methods.catalogue import METHODS, Description, build, describe, properties
from bagclip.methods.cross_attention import biovil_l, carzero, gloria, gloria_separable, limitr, scan_i2t, scan_t2i
from bagclip.methods.key_region import dsmil, filip, local_mi, lse, lse_nl, lse_nl_losses, maxsim, nl, xclip
from bagclip.methods.one_vector import abmil, biovil, clip, convirt, medclip, plip, siglip
from bagclip.methods.relations import RELATIONS, Relation
from bagclip.methods.within_pair import lovt, mgca, sparc

__all__ = [
    "METHODS",
    "RELATIONS",
    "Description",
    "Relation",
    "abmil",
    "biovil",
    "biovil_l",
    "build",
    "carzero",
    "clip",
    "convirt",
    "describe",
    "dsmil",
    "filip",
    "gloria",
    "gloria_separable",
    "limitr",
    "local_mi",
    "lovt",
    "lse",
    "lse_nl",
    "lse_nl_losses",
    "maxsim",
    "medclip",
    "mgca",
    "nl",
    "plip",
    "properties",
    "scan_i2t",
    "scan_t2i",
    "siglip",
    "sparc",
    "xclip",
]
