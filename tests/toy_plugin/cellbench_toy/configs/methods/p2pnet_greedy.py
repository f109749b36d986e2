# P2PNet with a matcher that a third-party package registers.
_base_ = "cellbench:methods/p2pnet.py"
method = dict(name="P2PNet-greedy")
model = dict(matcher=dict(_delete_=True, type="GreedyNearest", score_weight=1.0))
