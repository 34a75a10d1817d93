"""Sessions under load while everything around them breaks: `make chaos`.

story.py      what people say, what the model is to do about it, and the tools that leave a trace
person.py     a process of clients, that is killed and started again
model.py      the process of the model server: faults, and the check of the prompts' prefixes
proxy.py      a relay whose connections are cut
processes.py  how the two kinds of processes are started, told and killed
checks.py     what must hold of a log and of the traces
run.py        the sessions, the blows, and the end
"""
