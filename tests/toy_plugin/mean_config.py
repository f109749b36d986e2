# The mean of the training counts, whatever the image.
_base_ = ["../../configs/datasets/adi.py"]
method = dict(name="TrainingMean")
model = dict(type="TrainingMean")
