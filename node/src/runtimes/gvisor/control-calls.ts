/** One call on runsc's control socket. */
export interface ControlCall {
  readonly method: string
  readonly arg: unknown
}

const noRoute = { Destination: { IP: '', Mask: null }, Gateway: '' }
/** 255.0.0.0 as Go writes bytes in JSON. */
const classAMask = '/wAAAA=='

/** A network of nothing but loopback. */
export const networkCall: ControlCall = {
  method: 'Network.CreateLinksAndRoutes',
  arg: {
    LoopbackLinks: [
      {
        Name: 'lo',
        Addresses: [{ Address: '127.0.0.1', PrefixLen: 8 }],
        Routes: [{ Destination: { IP: '127.0.0.0', Mask: classAMask }, Gateway: '' }],
        GVisorGRO: false,
      },
    ],
    FDBasedLinks: [],
    XDPLinks: [],
    Defaultv4Gateway: { Route: noRoute, Name: '' },
    Defaultv6Gateway: { Route: noRoute, Name: '' },
    PCAP: false,
    LogPackets: false,
    NATBlob: false,
    DisconnectOk: true,
  },
}

/** The network, then the first process: what `runsc start` does, without its process. */
export const startCalls = (id: string): ControlCall[] => [
  networkCall,
  { method: 'containerManager.StartRoot', arg: id },
]
