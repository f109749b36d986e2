# The mean of the training counts, whatever the image.
method = dict(name="TrainingMean")
model = dict(type="TrainingMean")
