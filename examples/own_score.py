"""Write a score, train it on drawn radiographs, and see where a sentence is seen.

It takes some minutes on two cores; with --quick seconds, and the numbers are near chance.
"""

import sys
import tempfile

import bagclip as bc
from bagclip.aggregators import LogSumExp, Max, Mean
from bagclip.similarity import Cosine

quick = "--quick" in sys.argv
train = bc.data.phantom(32 if quick else 6000, seed=1, size=64)
test = bc.data.phantom(32 if quick else 500, seed=2, size=64)

# Every sentence finds its best regions; the document counts its best sentences most.
score = bc.chain(Cosine(), LogSumExp(10.0).over("regions"), LogSumExp(3.0).over("sentences"))
plain = bc.chain(Cosine(), Max().over("regions"), Mean().over("sentences"))
method = bc.Method(0.5 * (score + plain), name="mine")
print(method.score)
assert repr(bc.parse(repr(method.score))) == repr(method.score)

model = bc.Model(bc.encoders.ConvNet(dim=64, size=64, width=24), bc.encoders.Text(dim=64, width=96, layers=1), method)
with tempfile.TemporaryDirectory() as run:
    bc.train(model, train, bc.TrainConfig(epochs=1 if quick else 10, batch_size=16 if quick else 64), out=run)

print(bc.evaluate.retrieval(model, test))
print(bc.evaluate.grounding(model, test))
heat = model.ground(test[0].images[0], "small left pleural effusion")
print(heat.shape, heat.min(), heat.max())
