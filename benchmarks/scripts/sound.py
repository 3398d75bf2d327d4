"""eGeMAPS of some sound files through audinterface, which reads, resamples and calls openSMILE for each.

python benchmarks/scripts/sound.py OUT FILE...
"""

import sys

import audinterface
import opensmile

smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
process = audinterface.Process(process_func=smile.process_signal, sampling_rate=16_000, resample=True, mixdown=True)
for number, table in enumerate(process.process_files(sys.argv[2:])):
    table.to_pickle(f"{sys.argv[1]}/{number}.pkl")
