/** Servers for the inside, in plain Python: the base template has it, and nothing else is needed. */

/** HTTP/1.1 with keep-alive: echoes what it saw as JSON, streams events, takes uploads, counts connections. */
export const echoServer = `
import hashlib, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self):
        if self.path == '/events':
            self.send_response(200)
            self.send_header('content-type', 'text/event-stream')
            self.end_headers()
            for n in range(5):
                self.wfile.write(f'data: {n}\\n\\n'.encode()); self.wfile.flush(); time.sleep(0.1)
            self.close_connection = True
            return
        if self.path.startswith('/big'):
            size = 64 * 1024 * 1024
            self.send_response(200); self.send_header('content-length', str(size)); self.end_headers()
            for _ in range(size // 65536): self.wfile.write(b'x' * 65536)
            return
        self.answer(b'')
    def do_POST(self):
        left = int(self.headers.get('content-length', 0)); sha = hashlib.sha256()
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece: return
            sha.update(piece); left -= len(piece)
        self.answer(sha.hexdigest().encode())
    def answer(self, body):
        seen = {'path': self.path, 'headers': self.headers.items(), 'sha256': body.decode()}
        text = json.dumps(seen).encode()
        self.send_response(200); self.send_header('content-length', str(len(text))); self.end_headers()
        self.wfile.write(text)
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`

/** Echoes lines in capitals over TCP, and says goodbye after the client's half-close. */
export const lineServer = `
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line.upper())
        self.wfile.write(b'goodbye')
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`

/** A page with hot reload: it opens a WebSocket to where it came from and shows what comes over it. */
export const hotServer = `
import base64, hashlib, socketserver, struct, sys
page = b'''<!doctype html><title>hot</title><h1 id=state>loading</h1><script>
const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/hot')
socket.onmessage = (event) => { document.getElementById('state').textContent = event.data; socket.send('seen ' + event.data) }
socket.onclose = () => { document.getElementById('state').textContent += ' closed' }
</script>'''
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().decode(); headers = {}
        while True:
            text = self.rfile.readline().decode().strip()
            if not text: break
            name, value = text.split(':', 1); headers[name.lower()] = value.strip()
        if headers.get('upgrade', '').lower() != 'websocket':
            self.wfile.write(b'HTTP/1.1 200 OK\\r\\ncontent-type: text/html\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n' % len(page) + page)
            return
        key = headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
        self.wfile.write(b'HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: Upgrade\\r\\nsec-websocket-accept: ' + accept + b'\\r\\n\\r\\n')
        for version in (b'one', b'two'):
            self.wfile.write(bytes([0x81, len(version)]) + version)
            first, second = self.rfile.read(2); mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(second & 127)))
            assert data == b'seen ' + version
        self.wfile.write(bytes([0x81, 4]) + b'done')
        self.rfile.read(1)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
`
