# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes random-weight checkpoints that stable-diffusion.cpp loads: its SD 1.x tiny UNet layout (893 MB) and a TAESD (4.9 MB).

Usage: python sdserver_checkpoint.py OUT_MODEL.safetensors OUT_TAESD.safetensors   (torch, safetensors)
"""
import sys
import torch, safetensors.torch as st, time
torch.manual_seed(0); t0=time.time(); sd={}
def fill(shape,name):
    if name.endswith('bias'): return torch.zeros(shape)
    if len(shape)==1: return torch.ones(shape)
    fan=1
    for d in shape[1:]: fan*=d
    return torch.randn(shape)*(0.7/fan**0.5)
def put(n,*s): sd[n]=fill(s,n).half()
def lin(n,o,i,b=True):
    put(n+'.weight',o,i)
    if b: put(n+'.bias',o)
def conv(n,o,i,k): put(n+'.weight',o,i,k,k); put(n+'.bias',o)
def norm(n,c): put(n+'.weight',c); put(n+'.bias',c)
D='model.diffusion_model.'; E=1280
def res(p,i,o):
    norm(p+'.in_layers.0',i); conv(p+'.in_layers.2',o,i,3); lin(p+'.emb_layers.1',o,E); norm(p+'.out_layers.0',o); conv(p+'.out_layers.3',o,o,3)
    if i!=o: conv(p+'.skip_connection',o,i,1)
def attn(p,c):
    norm(p+'.norm',c); conv(p+'.proj_in',c,c,1); b=p+'.transformer_blocks.0'
    for k in '123': norm(b+'.norm'+k,c)
    for a,ctx in(('attn1',c),('attn2',768)):
        lin(b+f'.{a}.to_q',c,c,False); lin(b+f'.{a}.to_k',c,ctx,False); lin(b+f'.{a}.to_v',c,ctx,False); lin(b+f'.{a}.to_out.0',c,c)
    lin(b+'.ff.net.0.proj',c*8,c); lin(b+'.ff.net.2',c,c*4); conv(p+'.proj_out',c,c,1)
lin(D+'time_embed.0',E,320); lin(D+'time_embed.2',E,E); conv(D+'input_blocks.0.0',320,4,3)
for n,i,o in((1,320,320),(4,320,640),(7,640,1280)): res(D+f'input_blocks.{n}.0',i,o); attn(D+f'input_blocks.{n}.1',o)
conv(D+'input_blocks.3.0.op',320,320,3); conv(D+'input_blocks.6.0.op',640,640,3)
for n,i,o in((0,2560,1280),(1,1920,1280),(3,1920,640),(4,960,640),(6,960,320),(7,640,320)): res(D+f'output_blocks.{n}.0',i,o); attn(D+f'output_blocks.{n}.1',o)
conv(D+'output_blocks.2.1.conv',1280,1280,3); conv(D+'output_blocks.5.2.conv',640,640,3)
norm(D+'out.0',320); conv(D+'out.2',4,320,3)
print('unet',sum(v.numel() for v in sd.values())/1e6)
H,L,F=768,12,3072; P='cond_stage_model.transformer.text_model.'
put(P+'embeddings.token_embedding.weight',49408,H); put(P+'embeddings.position_embedding.weight',77,H)
for i in range(L):
    b=P+f'encoder.layers.{i}.'
    for n in('q','k','v','out'): lin(b+f'self_attn.{n}_proj',H,H)
    for n in '12': norm(b+f'layer_norm{n}',H)
    lin(b+'mlp.fc1',F,H); lin(b+'mlp.fc2',H,F)
norm(P+'final_layer_norm',H)
st.save_file(sd,sys.argv[1])
sd={}
def conv2(n,o,i,bias=True):
    put(n+'.weight',o,i,3,3)
    if bias: put(n+'.bias',o)
def block(n):
    for k in '024': conv2(n+'.conv.'+k,64,64)
# The tiny autoencoder: a chain of numbered layers; the numbers of ReLU and upsampling layers are left out.
e='encoder.layers.'; conv2(e+'0',64,3); block(e+'1'); n=2
for _ in range(3):
    conv2(e+str(n),64,64,False)
    for k in range(1,4): block(e+str(n+k))
    n+=4
conv2(e+str(n),4,64)
d='decoder.layers.'; conv2(d+'0',64,4); n=2
for _ in range(3):
    for k in range(3): block(d+str(n+k))
    conv2(d+str(n+4),64,64,False); n+=5
block(d+str(n)); conv2(d+str(n+1),3,64)
st.save_file({k:v.contiguous() for k,v in sd.items()},sys.argv[2])
