"""Runs a program with its stdout on a terminal of so many columns: COLUMNS PROGRAM ARGUMENT... Prints what it wrote."""
import fcntl, os, pty, struct, subprocess, sys, termios

columns, command = int(sys.argv[1]), sys.argv[2:]
reader, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal)
os.close(terminal)
while True:
    try:
        piece = os.read(reader, 65536)
    except OSError:
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece.replace(b"\r\n", b"\n"))
sys.exit(child.wait())
