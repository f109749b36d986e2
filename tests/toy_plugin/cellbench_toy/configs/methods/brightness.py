# A method whose numbers are known beforehand: plain SGD, 10 validations.
method = dict(name="Brightness")
model = dict(type="Brightness")
optimizer = dict(type="SGD", lr=2.0, momentum=0.0, weight_decay=0.0)
schedule = dict(
    policy="constant", warmup=0.0, validations=10, first_validation=0.1, precision="float32"
)
